"""The owner of a file, from its own row, and from what the system says of its process and of the lock."""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from batch_bridge._ledger.process import machine, started
from batch_bridge._status.models import Owner
from batch_bridge._status.names import BEAT

_MISSED: Final = 6
"""Beats after which an owner on another machine is taken for gone."""


def owner_of(path: Path, row: Mapping[str, Any] | None, now: float) -> Owner:
    """Return the process that has a file open, or had it last.

    Args:
        path: The file.
        row: What the owner has written down of itself, if there is that.
        now: Seconds since the epoch.
    """
    holder = _lock_holder(Path(f"{path.absolute()}.lock"))
    if row is None:
        return Owner(alive=holder is not None, pid=holder or None)
    closed = "closed_at" in row
    lives = False if closed else _lives(row, now)
    return Owner(
        alive=True if holder is not None else lives,
        pid=holder if holder and not lives else row["pid"],
        host=row["host"],
        since=row["opened_at"],
        at=row["at"],
        closed=closed,
    )


def _lives(row: Mapping[str, Any], now: float) -> bool | None:
    """Return whether the process that wrote a row is alive; `None` if that is not known."""
    if row["machine"] and row["machine"] == machine():
        return started(row["pid"]) == str(row["started"])
    if row["machine"] == "" and row["host"] == socket.gethostname():
        return _is_process(row["pid"])
    return True if now - row["at"] < _MISSED * BEAT else None


def _is_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _lock_holder(lock: Path) -> int | None:
    """Return the process that holds a lock file, without touching it; `None` if no process does, or that is not known.

    Source: proc(5), /proc/locks. A process of another namespace is 0 or -1 there.
    """
    if sys.platform != "linux":
        return None
    try:
        inode = lock.stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split()
        if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):  # noqa: PLR2004
            return max(int(fields[4]), 0)
    return None
