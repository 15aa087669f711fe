"""What the fields of a configuration file hold: durations, addresses, names of environment variables. Pure."""

import re
from datetime import timedelta
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d) ?)+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]*")


def _duration(value: object) -> timedelta:
    if isinstance(value, str) and _DURATION.fullmatch(value.strip()):
        value = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError('write a duration such as "30s", "90m", "1h 30m" or "7d", or a number of seconds')  # noqa: TRY004  # as pydantic asks for
    try:
        return timedelta(seconds=value)
    except (OverflowError, ValueError):
        raise ValueError("write a duration that a clock can count") from None


def _duration_or_never(value: object) -> timedelta | None:
    return None if value is None or value == "never" else _duration(value)


def _variable(value: object) -> object:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise ValueError(
            'write the name of an environment variable, in capitals, such as "OPENAI_API_KEY"; the key itself does not '
            "belong here"
        )
    return value


def _address(value: object) -> object:
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        raise ValueError('write an address that begins with "https://" or "http://"')
    if "@" in urlsplit(value).netloc or "?" in value:
        raise ValueError("an address holds no user, password or query here: secrets come from the environment")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
DurationOrNever = Annotated[timedelta | None, BeforeValidator(_duration_or_never)]
Variable = Annotated[str, BeforeValidator(_variable)]
Address = Annotated[str, BeforeValidator(_address)]
Whole = Annotated[int, Field(strict=True, ge=1)]
Text = Annotated[str, Field(strict=True, min_length=1)]
Flag = Annotated[bool, Field(strict=True)]
