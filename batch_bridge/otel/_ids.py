"""Ids of spans that derive from their subjects: exported again after a crash, a span has the same id."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace


def span_id(*names: str) -> int:
    """Return the id of the span about something; never 0, which is no id."""
    return int.from_bytes(_digest("span", *names)[:8]) or 1


def trace_id(*names: str) -> int:
    """Return the id of the trace that begins with something."""
    return int.from_bytes(_digest("trace", *names)[:16]) or 1


def _digest(*names: str) -> bytes:
    return hashlib.sha256("\0".join(names).encode()).digest()


class FollowingIds:
    """An SDK's `IdGenerator` that gives the ids that were pinned in this thread, and else those of another.

    Args:
        usual: What gives the others.
    """

    def __init__(self, usual: Any) -> None:
        self._usual = usual
        self._pinned = threading.local()

    @contextmanager
    def pinned(self, trace: int, span: int) -> Iterator[None]:
        """Give these ids while the block runs."""
        self._pinned.ids = (trace, span)
        try:
            yield
        finally:
            self._pinned.ids = None

    def generate_span_id(self) -> int:
        """See `opentelemetry.sdk.trace.id_generator.IdGenerator`."""
        ids = getattr(self._pinned, "ids", None)
        return int(ids[1] if ids else self._usual.generate_span_id())

    def generate_trace_id(self) -> int:
        """See `opentelemetry.sdk.trace.id_generator.IdGenerator`."""
        ids = getattr(self._pinned, "ids", None)
        return int(ids[0] if ids else self._usual.generate_trace_id())

    def is_trace_id_random(self) -> bool:
        """Those that follow from a name are no random ones."""
        return False


def following(tracer: trace.Tracer) -> FollowingIds | None:
    """Have a tracer take its ids from here; `None` where it makes none, as without an SDK.

    The SDK's `Tracer.id_generator` is public; its tracers are shared by all who ask for one of the same name.
    """
    real: Any = tracer
    usual = getattr(real, "id_generator", None)
    if usual is None:
        return None
    if not isinstance(usual, FollowingIds):
        usual = FollowingIds(usual)
        real.id_generator = usual
    return usual
