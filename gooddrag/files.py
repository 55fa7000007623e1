"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gooddrag.errors import BadInput, EditFailed


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file in the same folder, then give it its name; at any failure nothing is left.

    Raises
    ------
    EditFailed
        When the disk is full.
    BadInput
        When the folder can't be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        os.replace(part, path)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        _remove(part)


def check_writable(folder: Path) -> None:
    """Make sure that files can be put into `folder`; what had to be made to find out is removed again.

    Raises
    ------
    BadInput, EditFailed
        As `write_whole`.
    """
    made = next((p for p in [*reversed(folder.parents), folder] if not p.exists()), None)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _explained(error, folder) from error
    finally:
        if made is not None:
            _remove_empty(folder, made)


def _explained(error: OSError, path: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EditFailed(f"The disk is full, so '{path}' was not written: free some space, then run this again.")
    return BadInput(f"'{path}' can't be written ({error.strerror or 'no access'}): choose another folder.")


def _remove(path: Path) -> None:
    with suppress(OSError):  # where the folder itself is missing or locked, there is nothing of ours in it
        path.unlink(missing_ok=True)


def _remove_empty(folder: Path, top: Path) -> None:
    for path in [folder, *folder.parents]:
        with suppress(OSError):
            path.rmdir()
        if path == top:
            return
