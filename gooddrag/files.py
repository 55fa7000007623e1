"""Files are written whole or not at all, one by one or several together."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gooddrag.errors import BadInput, EditFailed, is_disk_full


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


@contextmanager
def written_together(folder: Path, last: str, optional: Sequence[str] = ()) -> Iterator[Path]:
    """An empty folder to write into; at the end all its files move into `folder`, `last` after the others.

    `optional` names files of an earlier time that go where they were not written again. At any failure, an interrupt
    included, `folder` is as it was before.

    Raises
    ------
    BadInput, EditFailed
        As `write_whole`.
    """
    try:
        with _made(folder), tempfile.TemporaryDirectory(prefix=".new-", dir=folder, ignore_cleanup_errors=True) as new:
            yield Path(new)
            _exchange(Path(new), folder, Path(last), map(Path, optional))
    except (OSError, BadInput, EditFailed) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError):
            raise
        raise _explained(cause, folder) from cause  # named as the user did, not as the folder of the parts


def _exchange(new: Path, folder: Path, last: Path, optional: Iterable[Path]) -> None:
    """Set the old files aside and let the new ones in; when that fails, put everything back."""
    names = sorted((p.relative_to(new) for p in new.rglob("*") if p.is_file()), key=lambda name: name == last)
    old_names = [*reversed(names), *optional]  # `last` goes first: without it, nobody takes a mixture for a whole
    old = Path(tempfile.mkdtemp(prefix=".old-", dir=folder))
    try:
        _move(old_names, folder, old)
        _move(names, new, folder)
    except BaseException:
        _move([name for name in names if not (new / name).exists()], folder, new)
        _move(reversed(old_names), old, folder)
        shutil.rmtree(old, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _move(names: Iterable[Path], source: Path, target: Path) -> None:
    for name in names:
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(source / name, target / name)


def check_writable(folder: Path) -> None:
    """Make sure that files can be put into `folder`; what had to be made to find out is removed again.

    Raises
    ------
    BadInput, EditFailed
        As `write_whole`.
    """
    try:
        with _made(folder), tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _explained(error, folder) from error


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder; afterwards remove again what was made and is still empty."""
    top = next((p for p in [*reversed(folder.parents), folder] if not os.path.exists(p)), None)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        if top is not None:
            _remove_empty(folder, top)


def _explained(error: OSError, path: Path) -> Exception:
    if is_disk_full(error):
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
