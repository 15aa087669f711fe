"""Durations as they are written down: in seconds. Pure."""

import math
from datetime import timedelta
from typing import Final, TypeGuard

LONGEST: Final = timedelta(days=3650)
"""The longest that counts: beyond that a sum of times may not exist."""


def read_seconds(number: float | None) -> timedelta | None:
    """Read a duration of a row or an interrupt; `None` is none. One that is longer than `LONGEST` is cut."""
    return None if number is None else timedelta(seconds=min(number, LONGEST.total_seconds()))


def is_duration(given: object) -> TypeGuard[float]:
    """Return whether something that was written by others is a duration in seconds, 0 or more."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        return False
    return given >= 0 and (isinstance(given, int) or math.isfinite(given))
