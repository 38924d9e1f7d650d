"""Files appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_PREFIX = ".anabranch-"


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path on the file system of `path`; on success move it there in one step, on any failure remove it.

    The old file, if there is one, stays whole until the new one is. A kill at any moment leaves either the old file or
    the new one under the name. Where `path` is a symbolic link, the file that it points to is written, and the link stays.

    The temporary file lies in a hidden folder beside the file. A process that is killed leaves that folder behind; the
    next write into the same folder removes it. A lock, which ends with its process, tells a folder in use from one left
    behind.

    Raises:
        FileNotFoundError: the folder does not exist.
        IsADirectoryError: `path` is a folder.
        OSError: `path` is a device or a pipe, which cannot be replaced, or a link that points to itself; or the system
            refuses, for want of room or rights.

    Example:
        >>> import tempfile, pathlib
        >>> from anabranch.atomic import replacing
        >>> target = pathlib.Path(tempfile.mkdtemp()) / "numbers.txt"
        >>> with replacing(target) as temporary:
        ...     _ = temporary.write_text("1 2 3")
        >>> target.read_text()
        '1 2 3'
    """
    target = file_behind(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} does not exist; create it first")
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file")
    if target.exists() and not target.is_file():
        raise OSError(f"{path} is a device or a pipe, not a file; name a file")
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
    _remove_leftovers(target.parent)
    with _locked_folder(target.parent) as folder:
        temporary = folder / target.name
        try:
            yield temporary
            temporary.chmod(mode)
            temporary.replace(target)
        except OSError as error:
            # who reads the message knows the file by the name that was asked for
            if error.filename is not None and str(folder) in str(error.filename):
                error.filename = str(path)
            raise


@contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary, empty folder beside `path`; on success it becomes the folder `path`, on any failure it is removed.

    Raises:
        FileNotFoundError: the folder above does not exist.
        ValueError: `path` is a file, or a folder that holds something already: nothing is written over.
        OSError: the system refuses, for want of room or rights.

    Example:
        >>> import tempfile, pathlib
        >>> from anabranch.atomic import replacing_folder
        >>> target = pathlib.Path(tempfile.mkdtemp()) / "numbers"
        >>> with replacing_folder(target) as temporary:
        ...     _ = (temporary / "one.txt").write_text("1")
        >>> [file.name for file in target.iterdir()]
        ['one.txt']
    """
    target = file_behind(path)
    check_new_folder(path)
    _remove_leftovers(target.parent)
    with _locked_folder(target.parent) as folder:
        temporary = folder / target.name
        temporary.mkdir()
        try:
            yield temporary
            if target.is_dir():
                target.rmdir()  # only an empty one goes
            temporary.replace(target)
        except OSError as error:
            if error.filename is not None and str(folder) in str(error.filename):
                error.filename = str(path)
            raise


def check_new_folder(path: str | os.PathLike[str]) -> None:
    """Raise FileNotFoundError or ValueError unless `replacing_folder` could make this folder."""
    target = file_behind(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} does not exist; create it first")
    if target.exists() and not target.is_dir():
        raise ValueError(f"{path}: expected a folder to write, got a file")
    inside = sorted(one.name for one in target.iterdir()) if target.is_dir() else []
    if inside:
        raise ValueError(
            f"{path}: expected a new or an empty folder, got one that holds {len(inside)} files or folders, such as "
            f"{inside[0]}; name another"
        )


def file_behind(path: str | os.PathLike[str]) -> Path:
    """Where a file of this name lies: what symbolic links come to, whether it exists or not.

    Raises:
        OSError: links that point to each other.
    """
    # Python before 3.13 says so by a RuntimeError, later ones leave the link as it is
    with suppress(RuntimeError):
        target = Path(path).resolve()
        if not target.is_symlink():
            return target
    raise OSError(f"{path} is a symbolic link that comes back to itself; name a file")


@contextmanager
def _locked_folder(parent: Path) -> Iterator[Path]:
    """A new hidden folder, locked as long as it is in use."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        # before it was locked, another process may have taken it for left behind, and removed it, or be about to
        with suppress(BlockingIOError, FileNotFoundError):
            lock = _lock(folder)
            if folder.is_dir():
                break
            _unlock(lock)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _unlock(lock)


def _remove_leftovers(parent: Path) -> None:
    """Remove the temporary folders of processes that are no more; where nothing can be locked, none."""
    for folder in parent.glob(f"{_PREFIX}*"):
        if folder.is_symlink() or not folder.is_dir():
            continue
        # in use, of another user, or just removed
        with suppress(OSError):
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                _unlock(lock)


def _lock(folder: Path) -> int | None:
    """Take the lock of a folder, which lasts until it is given back or its process ends; None where there are no locks.

    Raises:
        BlockingIOError: it is taken.
        OSError: the folder cannot be opened.
    """
    if sys.platform == "win32":
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:  # a file system without locks
        os.close(handle)
        return None
    return handle


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
