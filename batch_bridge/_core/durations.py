"""Durations: how they are given, the one parser of them all, and how they are written down, in seconds. Pure."""

import math
import re
from datetime import timedelta
from typing import Final, TypeAlias, TypeGuard

Duration: TypeAlias = timedelta | float | str
"""A duration as users give it: a `timedelta`, seconds, or text such as `"30s"`, `"90m"`, `"1h 30m"` or `"7d"`."""
Within: TypeAlias = Duration | None
"""The same, or none."""

LONGEST: Final = timedelta(days=3650)
"""The longest that counts: beyond that a sum of times may not exist."""
FORMS: Final = 'a timedelta, seconds, or text such as "90m" or "1h 30m"'
"""What may be given, for an error."""

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TEXT: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d) ?)+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse(given: object) -> timedelta | None:
    """Return a duration as it was given; `None` if it is not one. A duration beyond any clock becomes the longest."""
    if isinstance(given, timedelta):
        return given
    if isinstance(given, str) and _TEXT.fullmatch(given.strip()):
        given = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(given))
    if isinstance(given, bool) or not isinstance(given, int | float) or given != given:  # noqa: PLR0124  # NaN
        return None
    try:
        return timedelta(seconds=given)
    except OverflowError:
        return timedelta.max if given > 0 else timedelta.min


def required(given: object, what: str) -> timedelta:
    """Return a duration as it was given.

    Args:
        given: The duration.
        what: The argument that it was given as, for the error: `"Bridge(linger={given})"`.

    Raises:
        TypeError: It is no duration.
    """
    parsed = parse(given)
    if parsed is None:
        raise TypeError(f"{what.format(given=repr(given))} is not a duration; pass {FORMS}")
    return parsed


def duration(given: object, what: str = "deadline") -> timedelta | None:
    """Return a duration that is positive, and no longer than ten years; `None` if none was given.

    Args:
        given: The duration.
        what: The argument that it was given as.

    Raises:
        TypeError: It is not a duration.
        ValueError: It is not positive, or longer than ten years.
    """
    if given is None:
        return None
    parsed = required(given, f"{what}={{given}}")
    if parsed <= timedelta(0):
        instead = ', or mode="realtime"' if what == "deadline" else ""
        raise ValueError(f"{what}={given!r} has passed at once; give a positive one{instead}")
    if parsed > LONGEST:
        raise ValueError(f"{what}={given!r} is longer than ten years; leave it out")
    return parsed


def read_seconds(number: float | None) -> timedelta | None:
    """Read a duration of a row or an interrupt; `None` stays `None`. A duration above `LONGEST` is cut to it."""
    return None if number is None else timedelta(seconds=min(number, LONGEST.total_seconds()))


def is_duration(given: object) -> TypeGuard[float]:
    """Return whether something that was written by others is a duration in seconds, 0 or more."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        return False
    return given >= 0 and (isinstance(given, int) or math.isfinite(given))
