"""What travels between a node and its bridge: the interrupt's value one way, an envelope the other. Pure.

Interrupt::

    {"batch_bridge": 1, "requests": [{"id": …, "batcher": "bridge", "item": …}]}
                                         where set: "tenant", "sample", "deadline" in seconds; beside "requests"
                                         "run", and "by": who asks, see `_box`

Envelope, the value that resumes it::

    {"batch_bridge": 1, "outcomes": {request id: outcome}, "by": as in the interrupt}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from batch_bridge import _outcome
from batch_bridge._duration import read_seconds
from batch_bridge._models import JSON, Outcome, Request

MARKER: Final = "batch_bridge"
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """A request inside an interrupt: which bridge is asked for what. The rest is as in `Request`."""

    id: str
    batcher: str
    item: JSON
    tenant: str = ""
    sample: str = ""
    deadline: timedelta | None = None

    def request(self, thread: str) -> Request:
        """Return the request that the thread waits for."""
        return Request(self.id, thread, self.item, self.tenant, self.sample, self.deadline)


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
    return value


def read_interrupt(value: object) -> list[Asked] | None:
    """Return what an interrupt's value asks for; `None` if it is not one of ours."""
    if not isinstance(value, Mapping) or value.get(MARKER) != VERSION or "requests" not in value:
        return None
    try:
        return [_read(each) for each in value["requests"]]
    except (KeyError, TypeError, AttributeError):  # somebody else's, though it looks like ours
        return None


def _read(row: Mapping[str, Any]) -> Asked:
    own = read_seconds(row.get("deadline"))
    return Asked(row["id"], row["batcher"], row["item"], row.get("tenant", ""), row.get("sample", ""), own)


def read_origin(value: object) -> str:
    """Return the run whose context the run that resumes this interrupt must be given; empty if it has none."""
    return str(value.get("run", "")) if isinstance(value, Mapping) else ""


def read_author(value: object) -> str:
    """Return who has asked for what an interrupt asks for, or an envelope brings; empty if that is not known."""
    return str(value.get("by") or "") if isinstance(value, Mapping) else ""


def envelope(outcomes: Mapping[str, Outcome], by: str = "") -> dict[str, JSON]:
    """Return the value that resumes an interrupt; `by` is who has asked."""
    value: dict[str, JSON] = {
        MARKER: VERSION,
        "outcomes": {each: _outcome.to_json(outcomes[each]) for each in outcomes},
    }
    if by:
        value["by"] = by
    return value


def read_envelope(value: object) -> dict[str, Outcome]:
    """Return what an envelope brings. Anything else, a human's answer say, brings nothing."""
    if not isinstance(value, Mapping) or value.get(MARKER) != VERSION:
        return {}
    outcomes = value.get("outcomes")
    return {each: _outcome.from_json(row) for each, row in outcomes.items()} if isinstance(outcomes, Mapping) else {}


def is_bridge_interrupt(interrupt: Any) -> bool:
    """Tell whether an interrupt is one of ours, and not a human's to answer.

    Args:
        interrupt: A LangGraph `Interrupt`, the dict that the LangGraph SDK gives for one, or its value.
    """
    value = getattr(interrupt, "value", interrupt)
    if isinstance(value, Mapping) and MARKER not in value and "value" in value:
        value = value["value"]
    return read_interrupt(value) is not None
