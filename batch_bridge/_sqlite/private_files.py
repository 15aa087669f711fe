"""Files that only their owner may read: 0600, in folders of 0700, and never through a symbolic link.

What BatchBridge writes holds prompts and answers in clear. So a file is made with its final mode, before anything is in
it, and one that is there already loses what its group and others may do. SQLite gives its `-wal` and `-shm` the mode of
the file that they belong to.

On a system without such modes or links the checks find nothing to refuse.
"""

import os
import stat
import threading
from pathlib import Path
from typing import BinaryIO, Final

from filelock import FileLock

from batch_bridge._core.wording.log import logger_of

logger = logger_of(__name__)

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700

_OTHERS: Final = 0o077
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_LOOK: Final = getattr(os, "O_PATH", None)
"""Opens a name and not the file: closing such a descriptor takes no lock away."""
_BESIDE: Final = ("-journal", "-wal", "-shm")
"""What SQLite keeps beside a file."""

_claiming = threading.Lock()
"""Held while a new file's descriptor is open: closing it would take the locks that SQLite holds on the same file."""


class UnsafeFileError(OSError):
    """A file or folder is a link, or belongs to someone who could read or change what is written into it."""


def claim_database(path: Path) -> None:
    """Make an empty file for SQLite that only this user may read; or restrict an existing file and its log.

    Call it before `sqlite3.connect`. A file that cannot be made for another reason is left for SQLite to report.

    Raises:
        UnsafeFileError: The file, or what SQLite keeps beside it, is a link, no file, or another user's.
    """
    with _claiming:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINK, FILE_MODE))
        except FileExistsError:
            tighten(path)
        except OSError:
            return
    for suffix in _BESIDE:
        tighten(Path(f"{path}{suffix}"))


def tighten(path: Path) -> None:
    """Take from all others what they may do with a file, without opening it. One that is not there is left alone.

    Raises:
        UnsafeFileError: It is a link, no file, or another user's.
    """
    if _LOOK is None:
        if os.path.lexists(path):
            _tighten(path, path.lstat(), path)
        return
    try:
        descriptor = os.open(path, _LOOK | _NO_LINK)
    except FileNotFoundError:
        return
    try:
        held = Path(f"/proc/self/fd/{descriptor}")
        _tighten(path, os.fstat(descriptor), held if held.exists() else path)
    finally:
        os.close(descriptor)


def _tighten(path: Path, info: os.stat_result, held: Path) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise UnsafeFileError(f"{path} is {_kind(path, info)}; name a regular file instead")
    _check_owner(path, info, "file")
    if stat.S_IMODE(info.st_mode) & _OTHERS:
        try:
            held.chmod(FILE_MODE)
        except PermissionError as error:  # a file system that keeps no modes, such as FAT
            logger.warning("others may read %s: its mode cannot be changed to 0600 (%s)", path, error)


def make_folder(path: Path, *, ours: bool = False) -> None:
    """Make a folder that only this user may enter; its parents, if they are missing, as usual.

    Args:
        path: The folder.
        ours: Nothing but BatchBridge uses it, so that one that is there is closed to others too. Another one keeps its
            mode, since it may be a home or a project; what is made inside of it is private all the same.

    Raises:
        UnsafeFileError: It is a link, or another user's.
        OSError: It cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=FOLDER_MODE)
    except FileExistsError:
        info = path.lstat()
        if not stat.S_ISDIR(info.st_mode):
            raise UnsafeFileError(f"{path} is {_kind(path, info)}; name a folder instead") from None
        _check_owner(path, info, "folder")
        if ours and stat.S_IMODE(info.st_mode) & _OTHERS:
            path.chmod(FOLDER_MODE)


def open_new(path: Path) -> BinaryIO:
    """Open a file for writing, empty, that only this user may read.

    Raises:
        OSError: It cannot be opened, or is a link.
    """
    return open(path, "wb", opener=_private)  # `Path.open` takes no opener


def touch(path: Path) -> None:
    """Make an empty file that only this user may read; an existing file is left alone.

    Raises:
        OSError: It cannot be made, or is a link.
    """
    os.close(_private(str(path), os.O_WRONLY | os.O_CREAT))


def lock_file(path: Path) -> FileLock:
    """Return a lock file, not yet acquired, that only this user may write.

    Raises:
        UnsafeFileError: It is a link, no file, or another user's.
    """
    tighten(path)
    return FileLock(path, timeout=0, thread_local=False, mode=FILE_MODE)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | _NO_LINK, FILE_MODE)


def _kind(path: Path, info: os.stat_result) -> str:
    if stat.S_ISLNK(info.st_mode):
        return f"a symbolic link to {os.readlink(path)}, and links are not followed"  # noqa: PTH115
    return "a folder" if stat.S_ISDIR(info.st_mode) else "neither a file nor a folder"


def _check_owner(path: Path, info: os.stat_result, kind: str) -> None:
    """Refuse a file of another user, who could read it; only root may use it."""
    if not hasattr(os, "geteuid"):
        return
    if info.st_uid != (me := os.geteuid()) and me != 0:
        raise UnsafeFileError(
            f"{path} belongs to another user (uid {info.st_uid}, and this process is {me}), who could read and change "
            f"what is written there; name another {kind}, or change its owner"
        )
