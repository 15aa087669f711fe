"""What a process holds, as Linux tells it: of this process alone.

`ru_maxrss` is no measure for a process that another one has started: it begins with what the parent held.
"""

from pathlib import Path


def resident() -> int:
    """Return the bytes that are in memory now."""
    return _read("VmRSS")


def peak() -> int:
    """Return the most bytes that have been in memory since this program was loaded."""
    return _read("VmHWM")


def _read(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status names no {name}")
