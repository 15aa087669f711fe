"""What travels between a node and its bridge: the interrupt's value one way, an envelope the other. Pure.

Interrupt::

    {"batch_bridge": 1, "requests": [{"id": …, "batcher": "bridge", "item": …}]}
                                         where set: "tenant", "sample", "deadline" in seconds, "label", "trace",
                                         "priced"; beside "requests" "run", and "by": who asks, see `_box`; on a server
                                         "mac", see `_signature`

Envelope, the value that resumes it::

    {"batch_bridge": 1, "outcomes": {request id: outcome}, "by": as in the interrupt}       on a server "mac"

Others can write to both places, so both are read strictly: a value of any other form is not ours.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeGuard

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.durations import is_duration, read_seconds
from batch_bridge._core.models import JSON, Outcome, Request
from batch_bridge._core.payload.signature import SIGNATURE, Keys
from batch_bridge._core.payload.trace_context import is_context
from batch_bridge.errors import LedgerError

MARKER: Final = "batch_bridge"
VERSION: Final = 1
_ID: Final = re.compile("[0-9A-Za-z_-]{1,64}")
_UUID: Final = re.compile("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
"""A request's id: 32 hex digits as `wait` makes them, or a name that can be no path and no pattern."""
_LONGEST_NAME: Final = 1000
"""Characters of the name of a bridge, a tenant or an asker."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request inside an interrupt: which bridge is asked for what. The rest is as in `Request`."""

    id: str
    batcher: str
    item: JSON
    tenant: str = ""
    sample: str = ""
    deadline: timedelta | None = None
    label: str = ""
    trace: str = ""
    is_priced: bool = False

    def request(self, thread: str, run: str = "") -> Request:
        """Return the request that the thread waits for; `run` is whose thread it is."""
        own = (self.tenant, self.sample, self.deadline, self.label)
        return Request(self.id, thread, self.item, *own, run, self.trace, self.is_priced)


def interrupt_value(requests: list[JSON], origin: str = "", by: str = "") -> dict[str, JSON]:
    """Return the value of an interrupt that asks for what `to_json` made. The list is part of it.

    `origin` is the run that was interrupted, where the one that resumes it must be given the same context. `by` is who
    asks: a session of a Runner, or a process.
    """
    value: dict[str, JSON] = {MARKER: VERSION, "requests": requests}
    if origin:
        value["run"] = origin
    if by:
        value["by"] = by
    return value


def to_json(asked: Asked) -> JSON:
    """Return one request of an interrupt's value."""
    value: dict[str, JSON] = {"id": asked.id, "batcher": asked.batcher, "item": asked.item}
    if asked.tenant:
        value["tenant"] = asked.tenant
    if asked.sample:
        value["sample"] = asked.sample
    if asked.deadline is not None:
        value["deadline"] = asked.deadline.total_seconds()
    if asked.label:
        value["label"] = asked.label
    if asked.trace:
        value["trace"] = asked.trace
    if asked.is_priced:
        value["priced"] = True
    return value


def read_interrupt(value: object) -> list[Asked] | None:
    """Return what an interrupt's value asks for; `None` if it is not one of ours. Never raises."""
    if not _has_marker(value) or not isinstance(rows := value.get("requests"), list):
        return None
    if not _is_name(value.get("by", "")) or not _is_origin(value.get("run", "")):
        return None
    asked = [_read(each) for each in rows]
    held = [each for each in asked if each is not None]
    return held if len(held) == len(asked) else None


def looks_like_ours(value: object) -> bool:
    """Return whether an interrupt's value has our marker, so that `read_interrupt` should have read it."""
    return _has_marker(value) and "requests" in value


def _has_marker(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping) and _is_version(value.get(MARKER))


def _is_version(given: object) -> bool:
    return type(given) is int and given == VERSION


def _read(row: object) -> Asked | None:
    """Return one request of an interrupt; `None` if something in it is of another type or out of range."""
    if not isinstance(row, Mapping) or "item" not in row:
        return None
    request_id, batcher, deadline = row.get("id"), row.get("batcher"), row.get("deadline")
    tenant, sample, label = row.get("tenant", ""), row.get("sample", ""), row.get("label", "")
    if not _is_name(label) or not is_context(trace := row.get("trace", "")):
        return None
    if not (is_request_id(request_id) and _is_name(batcher) and _is_name(tenant) and isinstance(sample, str)):
        return None
    if not batcher or not (deadline is None or is_duration(deadline)):
        return None
    is_priced = row.get("priced") is True
    return Asked(request_id, batcher, row["item"], tenant, sample, read_seconds(deadline), label, trace, is_priced)


def is_request_id(given: object) -> TypeGuard[str]:
    """Return whether this may be the id of a request."""
    return isinstance(given, str) and _ID.fullmatch(given) is not None


def _is_name(given: object) -> TypeGuard[str]:
    return isinstance(given, str) and len(given) <= _LONGEST_NAME and "\0" not in given


def is_uuid(given: object) -> TypeGuard[str]:
    """Return whether this may be the id of a server's thread or run, which becomes part of a path."""
    return isinstance(given, str) and _UUID.fullmatch(given) is not None


def _is_origin(given: object) -> bool:
    """Return whether this is a server's run, or none."""
    return given == "" or is_uuid(given)


def read_origin(value: object) -> str:
    """Return the run whose context the run that resumes this interrupt must be given; empty if it has none."""
    origin = value.get("run", "") if isinstance(value, Mapping) else ""
    return str(origin) if _is_origin(origin) else ""


def read_author(value: object) -> str:
    """Return the asker of an interrupt or an envelope; empty if it is not known."""
    author = value.get("by") if isinstance(value, Mapping) else ""
    return author if _is_name(author) else ""


def envelope(
    outcomes: Mapping[str, Outcome], by: str = "", *, keys: Keys | None = None, thread: str = ""
) -> dict[str, JSON]:
    """Return the value that resumes an interrupt; `by` is the asker. With `keys` it is signed for a thread."""
    value: dict[str, JSON] = {
        MARKER: VERSION,
        "outcomes": {each: _outcome.to_json(outcomes[each]) for each in outcomes},
    }
    if by:
        value["by"] = by
    if keys is not None:
        value[SIGNATURE] = keys.sign("envelope", thread, value)
    return value


def read_envelope(value: object) -> dict[str, Outcome]:
    """Return the outcomes of an envelope. Any other value, such as a human's answer, has none. Never raises."""
    if not _has_marker(value) or not isinstance(outcomes := value.get("outcomes"), Mapping):
        return {}
    if not all(is_request_id(each) for each in outcomes):
        return {}
    try:
        return {each: _outcome.from_json(row) for each, row in outcomes.items()}
    except LedgerError:
        return {}


def is_envelope(value: object) -> bool:
    """Return whether a value that resumes an interrupt is, or looks like, an envelope, and not a person's answer."""
    return _has_marker(value) and "outcomes" in value


def is_bridge_interrupt(interrupt: Any) -> bool:
    """Return whether an interrupt is answered by a bridge, and not by a human.

    Args:
        interrupt: A LangGraph `Interrupt`, its dict in the LangGraph SDK, or its value.
    """
    value = getattr(interrupt, "value", interrupt)
    if isinstance(value, Mapping) and MARKER not in value and "value" in value:
        value = value["value"]
    return read_interrupt(value) is not None
