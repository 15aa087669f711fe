"""Durations as they are written down: in seconds. Pure."""

from datetime import timedelta
from typing import Final

LONGEST: Final = timedelta(days=3650)
"""The longest that counts: beyond that a sum of times may not exist."""


def read_seconds(number: float | None) -> timedelta | None:
    """Read a duration of a row or an interrupt, which may hold any number; `None` is none."""
    return None if number is None else timedelta(seconds=min(number, LONGEST.total_seconds()))
