"""Sets unreadable rows of the store aside and reports them; everything else continues."""

from datetime import UTC, datetime
from typing import Final, TypeGuard

from batch_bridge._core.wording.log import about, logger_of

logger = logger_of(__name__)

_EARLIEST: Final = -6.2e10
_LATEST: Final = 1e11
"""Seconds since 1970, between which a `datetime` can be made everywhere."""
_LONGEST: Final = 1000
UNREADABLE: Final = (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError, OSError)
"""What reading a row of another form raises."""


def is_text(given: object, *, empty: bool = False) -> TypeGuard[str]:
    """Return whether something is a string of a sane length."""
    return isinstance(given, str) and (empty or bool(given)) and len(given) <= _LONGEST and "\0" not in given


def is_time(given: object) -> TypeGuard[float]:
    """Return whether something is a time that was written as seconds since 1970."""
    return type(given) in (int, float) and _EARLIEST < given < _LATEST  # type: ignore[operator]  # NaN is not


def time_of(given: object) -> datetime:
    """Return a time that was written as seconds since 1970.

    Raises:
        ValueError: It is not a time.
    """
    if not is_time(given):
        raise ValueError(f"{type(given).__name__} is not a time")
    return datetime.fromtimestamp(given, UTC)


def report(bridge: str, what: str, key: object, why: object = "") -> str:
    """Log that a row was set aside, and return the text for a person. Its content may be a prompt: it is not shown."""
    kind = f" ({type(why).__name__})" if isinstance(why, BaseException) else ""
    said = f"a row of {what} could not be read and was set aside{kind}: {str(key)[:80]!r}"
    logger.warning("%s: %s", bridge, said, extra=about(bridge=bridge))
    return said
