"""This process and others: what they are called, and whether one of them is there still."""

import functools
import os
import socket
from pathlib import Path
from uuid import uuid4


def this_process() -> str:
    """Return an id of this process: another one in the next, and after a fork."""
    return _id_of(os.getpid())


@functools.cache
def _id_of(_: int) -> str:
    return uuid4().hex[:16]


def machine() -> str:
    """Return a name of this machine and its set of process ids; empty if it is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def started(pid: int | None = None) -> str:
    """Return when a process of this machine was started; empty if it does not exist, or that is not known."""
    try:
        stat = Path(f"/proc/{pid or os.getpid()}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state == "Z" else fields[18]
