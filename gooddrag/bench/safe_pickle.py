"""Reads pickled numbers, words and NumPy arrays, and runs nothing that a pickle asks for.

A pickle is a little program that may call any function. Here the few names with which NumPy 1 and 2 rebuild arrays
stand for inert records; arrays are then made of those records, after their types and sizes were checked.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gooddrag.errors import BadInput

LARGEST_FILE = 64_000_000  # bytes: a mask of 40 megapixels fits
MOST_OPERATIONS = 20_000  # a hundred pairs of points need about a thousand
MOST_PARTS = 100_000  # of the result, as a short program can repeat one list without end
NUMPY = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")  # NumPy 1, NumPy 2
        for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
    ),
    ("_codecs", "encode"),  # how protocols before 3 spell bytes
}
# Operations that make instances, look names up in registries, or take data from elsewhere.
FORBIDDEN = {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER"}
NUMBER_TYPE = re.compile(r"[<>|=]?(\?|b1|[iu][1248]|f[248])")


def read_pickle(path: Path) -> Any:
    """Read a pickle of dicts, lists, tuples, numbers, words and numeric arrays.

    Raises
    ------
    BadInput
        When it holds anything else, is damaged, or is absurdly large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise BadInput(f"'{path}' can't be read ({error.strerror}): check its rights.") from error
    if len(data) > LARGEST_FILE:
        raise BadInput(f"'{path}' is larger than {LARGEST_FILE // 10**6} MB: such a file holds no drag task.")
    try:
        _check_operations(data)
        return _Builder().build(_Reader(io.BytesIO(data)).load())
    except _Refused as error:
        raise BadInput(f"'{path}' is refused, as it {error}: only numbers, words and arrays are read.") from error
    except Exception as error:  # a damaged pickle may raise anything
        raise BadInput(f"'{path}' is no readable pickle of points and mask: download it again.") from error


class _Refused(Exception):
    """Why, as the end of a sentence that begins with 'it'."""


def _check_operations(data: bytes) -> None:
    """Walk through the program without running it. Numbers that make the reader allocate must fit the file."""
    for count, (operation, argument, _) in enumerate(pickletools.genops(data)):
        if count > MOST_OPERATIONS:
            raise _Refused(f"has more than {MOST_OPERATIONS} parts")
        if operation.name in FORBIDDEN:
            raise _Refused("makes objects of its own")
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise _Refused("asks for more memory than it has data")


class _Name:
    """A function or class that a pickle names: calling it only takes a note."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __call__(self, *args: Any) -> _Made:
        return _Made(self.name, args)

    def __setstate__(self, state: Any) -> None:
        raise _Refused("changes a function")


class _Made:
    """What such a call would have made: its arguments, and the state that it was given afterwards."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple[Any, ...]):
        self.name, self.args = name, args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in NUMPY:
            raise _Refused(f"asks for {f'{module_name}.{global_name}'[:60]!r}")
        return _Name(global_name)


class _Builder:
    """Records → values. Counts what it makes, so that lists that hold each other come to an end."""

    def __init__(self) -> None:
        self.parts = 0

    def build(self, value: Any) -> Any:
        self.parts += 1
        if self.parts > MOST_PARTS:
            raise _Refused(f"holds more than {MOST_PARTS} values")
        if value is None or type(value) in (bool, int, float, str, bytes, bytearray):
            return value
        if type(value) in (list, tuple):
            return type(value)(self._all(value))
        if type(value) is dict:
            return dict(zip(self._all(value), self._all(value.values()), strict=True))
        if isinstance(value, _Made):
            return self._made(value)
        raise _Refused(f"holds a {type(value).__name__}")

    def _all(self, values: Any) -> Iterator[Any]:
        return (self.build(v) for v in values)

    def _made(self, record: _Made) -> Any:
        if record.name == "encode":
            text, coding = record.args
            if coding != "latin1":
                raise _Refused("spells bytes in a strange way")
            return text.encode("latin1")
        if record.name == "scalar":
            kind, data = record.args
            return _array(_number_type(kind), (1,), self.build(data))[0].item()
        if record.name == "_frombuffer":
            data, kind, shape, order = record.args
            return _array(_number_type(kind), shape, self.build(data), order)
        if record.name == "_reconstruct":
            _, shape, kind, fortran, data = record.state
            return _array(_number_type(kind), shape, self.build(data), "F" if fortran else "C")
        raise _Refused(f"holds a bare {record.name}")


def _number_type(record: Any) -> np.dtype[Any]:
    """The record of a dtype → one of the plain number types; objects and structures are refused."""
    code, order = record.args[0], (record.state or (3, "|"))[1]
    if record.name != "dtype" or not isinstance(code, str) or not NUMBER_TYPE.fullmatch(code):
        raise _Refused(f"holds an array of {str(code)[:20]!r}")
    if any(field is not None for field in (record.state or ())[2:5]):
        raise _Refused("holds an array of structures")
    kind = np.dtype(code)
    return kind.newbyteorder(order) if order in ("<", ">") else kind


def _array(kind: np.dtype[Any], shape: Any, data: Any, order: Any = "C") -> np.ndarray:
    sound = type(shape) is tuple and len(shape) <= 4 and all(type(n) is int and n >= 0 for n in shape)
    if not sound or not isinstance(data, bytes | bytearray) or math.prod(shape) * kind.itemsize != len(data):
        raise _Refused("holds an array whose shape and data don't agree")
    return np.frombuffer(data, kind).reshape(shape, order="F" if order == "F" else "C")
