"""The switch between a provider's batches and its twin that answers at once."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias

from batch_bridge._core.closing import close_all
from batch_bridge._core.flush_policy import FlushPolicy
from batch_bridge._core.log import logger_of
from batch_bridge._core.mode import VARIABLE, Mode, resolve_mode
from batch_bridge._core.models import JSON, Ended, InProgress, Limits, Measure, Request
from batch_bridge._core.provider import Provider, has_realtime
from batch_bridge.providers._realtime.provider import Realtime, is_realtime

logger = logger_of(__name__)

AnyMode: TypeAlias = Mode | Literal["auto"]
_MODES: Final = ("batch", "realtime", "auto")


class ModeSwitch:
    """Sends each batch one of two ways: by the provider's batch API, or at once by its twin if it is small.

    What was sent one way is looked after that way, whatever the mode is by then: a batch that a process before this
    one has left in flight is still adopted in realtime mode.

    Args:
        batch: The provider. What it has besides the verbs of a `Provider` can be asked here too.
        below: So few requests are sent at once: `0` sends none, `math.inf` all.
        twin: Answers at once; by default what the provider's `realtime()` returns.
    """

    def __init__(self, batch: Provider, below: float, twin: Provider | None = None) -> None:
        self._batch = batch
        self._below = below
        if twin is not None:
            self._twin = twin

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # before `__init__` has run there is no provider to ask
            raise AttributeError(name)
        return getattr(self._batch, name)

    def __repr__(self) -> str:
        return f"Auto({self._batch!r}, below={self._below})"

    @cached_property
    def _twin(self) -> Provider:
        assert has_realtime(self._batch)  # noqa: S101  # else there is no `ModeSwitch`
        return self._batch.realtime()

    @property
    def limits(self) -> Limits:
        """What one batch may hold."""
        return self._twin.limits if self._below == math.inf else self._batch.limits

    @property
    def room(self) -> int | None:
        """How many requests are taken now."""
        room: int | None = getattr(self._twin, "room", None) if self._below == math.inf else None
        return room

    @property
    def way(self) -> str:
        """How batches are answered: `batch`, `realtime`, or `auto` for either."""
        return "realtime" if self._below == math.inf else "auto" if self._below else "batch"

    def lane(self, handle: JSON) -> str:
        """Return how a batch is answered."""
        return "realtime" if is_realtime(handle) else "batch"

    def measure(self, request: Request) -> Measure:
        """Both ways refuse the same requests."""
        return self._batch.measure(request)

    async def prepare(self, key: str, requests: Sequence[Request]) -> JSON:
        """Choose the way, for good."""
        way = self._twin if len(requests) < self._below else self._batch
        return await way.prepare(key, requests)

    async def submit(self, key: str, requests: Sequence[Request], prepared: JSON) -> JSON:
        """Send the batch the way that was chosen."""
        return await self._way(prepared).submit(key, requests, prepared)

    async def poll(self, handle: JSON, members: Sequence[str]) -> InProgress | Ended:
        """See `Provider`."""
        return await self._way(handle).poll(handle, members)

    async def find(self, key: str, prepared: JSON) -> Sequence[JSON]:
        """See `Provider`."""
        return await self._way(prepared).find(key, prepared)

    async def fence(self, prepared: JSON) -> None:
        """See `Provider`."""
        await self._way(prepared).fence(prepared)

    async def cancel(self, handle: JSON) -> None:
        """See `Provider`."""
        await self._way(handle).cancel(handle)

    async def release(self, handle: JSON) -> None:
        """See `Provider`."""
        await self._way(handle).release(handle)

    async def aclose(self) -> None:
        """Give back the connections of both."""
        twin = (self._twin.aclose,) if "_twin" in self.__dict__ else ()
        await close_all((*twin, self._batch.aclose))

    def _way(self, left: JSON) -> Provider:
        return self._twin if is_realtime(left) else self._batch


def switch(
    provider: Provider, flush: FlushPolicy, mode: AnyMode | None, realtime_below: int | None, *, what: str
) -> tuple[Provider, FlushPolicy, AnyMode]:
    """Return the provider and the policy for a mode, and the mode that counts.

    Args:
        provider: Who answers.
        flush: When to send, in a mode that pools.
        mode: As it was given; `None` leaves it to the environment.
        realtime_below: As it was given, for `"auto"`.
        what: Whose arguments these are, for the errors.

    Raises:
        TypeError: The provider has no realtime way, and one was asked for.
        ValueError: There is no such mode, or `realtime_below` does not fit it.
    """
    if mode is not None and mode not in _MODES:
        raise ValueError(f'{what}(mode={mode!r}) is not a mode; pass "batch", "realtime", "auto", or None')
    counts: AnyMode = "auto" if mode == "auto" else resolve_mode(mode, what=what)
    _check_below(counts, realtime_below, what)
    if isinstance(provider, Realtime):
        if mode in ("batch", "auto"):
            raise ValueError(f"{what}(mode={mode!r}): {provider!r} answers in realtime only; pass the provider itself")
        if provider.batch is not None:
            return ModeSwitch(provider.batch, math.inf, provider), _at_once(flush), "realtime"
        return provider, _at_once(flush), "realtime"
    if not has_realtime(provider):
        if mode in ("realtime", "auto"):
            raise TypeError(
                f"{what}(mode={mode!r}): {type(provider).__name__} does not support realtime, and neither do "
                "submit and "
                "poll; pass a provider that does, such as OpenAIBatch, or omit mode="
            )
        if counts == "realtime":
            logger.warning(
                "%s is %r, but %s does not support realtime: its queue is sent immediately, in batches",
                VARIABLE,
                counts,
                type(provider).__name__,
            )
            return provider, _at_once(flush), "batch"
        return provider, flush, counts
    match counts:
        case "realtime":
            return ModeSwitch(provider, math.inf), _at_once(flush), counts
        case "auto":
            return ModeSwitch(provider, realtime_below or 0), flush, counts
        case _:
            return ModeSwitch(provider, 0), flush, counts


def _check_below(mode: AnyMode, below: int | None, what: str) -> None:
    if mode != "auto":
        if below is not None:
            raise ValueError(f'{what}(realtime_below={below!r}) is for mode="auto", and the mode is {mode!r}')
    elif isinstance(below, bool) or not isinstance(below, int) or below < 1:
        raise ValueError(
            f'{what}(mode="auto", realtime_below={below!r}): pass a whole number from 1; batches of fewer requests '
            "are sent in realtime"
        )


def _at_once(flush: FlushPolicy) -> FlushPolicy:
    return replace(flush, max_age=timedelta(0), when=None)
