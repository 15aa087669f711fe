"""What the fields of a configuration file hold: durations, addresses, names of environment variables. Pure."""

import re
from datetime import timedelta
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from batch_bridge._core.durations import parse

_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]*")


def _duration(value: object) -> timedelta:
    parsed = parse(value)
    if parsed is None:
        raise ValueError('write a duration such as "30s", "90m", "1h 30m" or "7d", or a number of seconds')
    if parsed in (timedelta.min, timedelta.max):
        raise ValueError("write a duration that a clock can count")
    return parsed


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
