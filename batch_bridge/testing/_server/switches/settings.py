"""Everything about a server that can be changed while it runs."""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from batch_bridge.testing._server.errors import BatchServerError
from batch_bridge.testing._server.switches.faults import Faults, Share
from batch_bridge.testing._server.switches.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the server behaves; all durations in seconds.

    Attributes:
        latency: From a batch's creation to its end; 0 is as soon as possible. Live batches follow a change.
        cancel_seconds: How long a cancelled batch stays in `cancelling`.
        window_seconds: After this long a batch that has not ended expires.
        processing_seconds: How long an uploaded file is `pending`, and no batch can be made of it; with Azure only.
        flex_seconds: How long a call of the flex tier waits for its answer.
        response_seconds: How long a response in the background takes, by the clock that `clock_speed` sets.
        clock_speed: Seconds that pass for responses in the background in each second.
        shuffle: Whether lines run, and are written, in an order of their own.
        seed: What every draw depends on: the order of lines, and which calls and lines a fault hits.
        webhook_url: Where the ends of batches are announced, if anywhere.
        webhook_secret: Signs the announcements; `whsec_…` is base64, anything else is taken as it is.
        faults: What goes wrong.
        limits: How much is accepted.
    """

    latency: float = 0.0
    cancel_seconds: float = 0.0
    window_seconds: float = 86_400.0
    processing_seconds: float = 0.0
    flex_seconds: float = 0.0
    response_seconds: float = 0.0
    clock_speed: float = 1.0
    shuffle: bool = True
    seed: int = 0
    webhook_url: str | None = None
    webhook_secret: str | None = None
    faults: Faults = field(default_factory=Faults)
    limits: Limits = field(default_factory=Limits)

    def changed(self, options: Mapping[str, object]) -> "Settings":
        """These settings with some options changed; faults and limits are named like any other option.

        Raises:
            BatchServerError: An option is unknown, or its value is not of its kind.
        """
        own, faults, limits = ({f.name: f for f in fields(kind)} for kind in (Settings, Faults, Limits))
        changes: dict[str, dict[str, Any]] = {"own": {}, "faults": {}, "limits": {}}
        for name, value in options.items():
            if name in faults:
                changes["faults"][name] = _checked(faults[name], value)
            elif name in limits:
                changes["limits"][name] = _checked(limits[name], value)
            elif name in own and name not in ("faults", "limits"):
                changes["own"][name] = _checked(own[name], value)
            else:
                raise BatchServerError(_unknown(name))
        return replace(
            self,
            **changes["own"],
            faults=replace(self.faults, **changes["faults"]),
            limits=replace(self.limits, **changes["limits"]),
        )

    def options(self) -> dict[str, object]:
        """All options as one flat mapping, the opposite of `changed`."""
        flat: dict[str, object] = {}
        for part in (self, self.faults, self.limits):
            flat |= {f.name: getattr(part, f.name) for f in fields(part)}
        return {name: value for name, value in flat.items() if name not in ("faults", "limits")}


def option_names() -> list[str]:
    """The names of all options."""
    return sorted(Settings().options())


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, option_names(), n=1)
    hint = f"did you mean {close[0]!r}?" if close else "the options are " + ", ".join(option_names()) + "."
    return f"the server has no option {name!r}; {hint}"


def _checked(of: Field[Any], value: object) -> object:
    """The value as the option's type, or an error that says what the option takes."""
    for kind in (kind for kind in _KINDS if kind.covers(of)):
        if kind.accepts(value):
            return kind.convert(value)
        raise BatchServerError(f"the server's option {of.name!r} takes {kind.takes}, and was given {value!r}.")
    raise BatchServerError(f"the server's option {of.name!r} cannot be set.")


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of option: its fields, the values that they accept, and the error text for others."""

    covers: Callable[[Field[Any]], bool]
    takes: str
    accepts: Callable[[object], bool]
    convert: Callable[[Any], object] = lambda value: value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_status(value: object) -> bool:
    return _is_whole(value) and value in _STATUSES


def _are_statuses(value: object) -> bool:
    many = value if isinstance(value, list | tuple) else [value]
    return bool(many) and all(one == 0 or _is_status(one) for one in many)


_STATUSES = range(400, 600)
_KINDS = (
    _Kind(
        lambda f: f.type is Share,
        "a share from 0 to 1 (or True)",
        lambda value: isinstance(value, int | float) and 0 <= value <= 1,
        float,
    ),
    _Kind(lambda f: f.type is float, "a number of seconds, 0 or more", _is_number, float),
    _Kind(lambda f: f.type is bool, "True or False", lambda value: isinstance(value, bool)),
    _Kind(lambda f: f.name == "seed", "a whole number", _is_whole),
    _Kind(
        lambda f: f.name == "line_failure_status",
        "an HTTP status from 400 to 599, or 0, or several of them",
        _are_statuses,
        lambda value: tuple(value) if isinstance(value, list | tuple) else (value,),
    ),
    _Kind(lambda f: f.name.endswith("_status"), "an HTTP status from 400 to 599", _is_status),
    _Kind(
        lambda f: f.type is int,
        "a whole number, 0 or more",
        lambda value: _is_whole(value) and _is_number(value),
    ),
    _Kind(
        lambda f: f.type == int | None,
        "a whole number, 0 or more, or None",
        lambda value: value is None or (_is_whole(value) and _is_number(value)),
    ),
    _Kind(lambda f: f.type is str, "a string", lambda value: isinstance(value, str)),
    _Kind(
        lambda f: f.type == str | None,
        "a string, or None",
        lambda value: value is None or isinstance(value, str),
    ),
)
