"""The switch between a provider's batches and its other lanes."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal, TypeAlias

from batch_bridge._core.closing import close_all
from batch_bridge._core.models import JSON, Ended, InProgress, Limits, LineFrame, Measure, Request
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.lanes import LANES, lane_in, lanes_of, no_lane, open_lane
from batch_bridge._core.policy.mode import NAMES, VARIABLE, Mode, resolve_mode
from batch_bridge._core.provider import Provider, conversations_of, has_realtime, knows_conversations
from batch_bridge._core.wording.log import logger_of
from batch_bridge.providers._realtime.provider import Realtime

logger = logger_of(__name__)

AnyMode: TypeAlias = Mode | Literal["auto"]


class ModeSwitch:
    """Sends each batch one of two ways: by the provider's batch API, or in another lane, all or if it is small.

    A batch stays in the lane in which it was sent, even if the mode has changed: a batch that an earlier process left
    in flight is still adopted in realtime mode.

    Args:
        batch: The provider. What it has besides the verbs of a `Provider` can be asked here too.
        below: So few requests are sent in the other lane: `0` sends none, `math.inf` all.
        twin: Answers in the other lane; by default what the provider's `realtime()` returns.
        lane: The name of the other lane.
    """

    def __init__(self, batch: Provider, below: float, twin: Provider | None = None, lane: str = "realtime") -> None:
        self._batch = batch
        self._below = below
        self._lane = lane
        self._others: dict[str, Provider] = {}
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
        """How batches are answered: in which lane, or `auto` for realtime or batches."""
        return self._lane if self._below == math.inf else "auto" if self._below else "batch"

    def conversations(self) -> tuple[LineFrame, str] | None:
        """See `knows_conversations`."""
        return None if self._is_elsewhere else conversations_of(self._batch)

    @property
    def _is_elsewhere(self) -> bool:
        """Whether all goes to a lane that is neither batch nor realtime."""
        return self._below == math.inf and self._lane != "realtime"

    @knows_conversations
    def measure(self, request: Request) -> Measure:
        """Both ways refuse the same requests; other lanes may refuse more."""
        if self._below < math.inf:
            return self._batch.measure(request)
        if self._lane == "realtime":
            return self._batch.measure(request)._replace(prefix=None)  # no request waits for a batch
        return self._twin.measure(request)._replace(prefix=None)

    async def prepare(self, key: str, requests: Sequence[Request]) -> JSON:
        """Choose the way, for good."""
        way = self._twin if len(requests) < self._below else self._batch
        return await way.prepare(key, requests)

    async def submit(self, key: str, requests: Sequence[Request], prepared: JSON) -> JSON:
        """Send the batch the way that was chosen."""
        return await self._way(prepared).submit(key, requests, prepared)

    async def poll(self, handle: JSON, requests: Sequence[str]) -> InProgress | Ended:
        """See `Provider`."""
        return await self._way(handle).poll(handle, requests)

    def hurry(self, handle: JSON) -> None:
        """Notify a batch's provider of news about it, if it wants notifications."""
        hurry = getattr(self._way(handle), "hurry", None)
        if hurry is not None:
            hurry(handle)

    def look_at_once(self, handle: JSON) -> None:
        """Notify a batch's provider that its next look is the last before its requests are sent again."""
        look_at_once = getattr(self._way(handle), "look_at_once", None)
        if look_at_once is not None:
            look_at_once(handle)

    def refuses(self, handle: JSON) -> bool:
        """Return whether the way that a batch was sent has no capacity for it."""
        refuses = getattr(self._way(handle), "refuses", None)
        return refuses is not None and bool(refuses(handle))

    def finds(self, prepared: JSON) -> bool:
        """Return whether the way that was chosen can look batches up."""
        finds = getattr(self._way(prepared), "finds", None)
        return finds is None or bool(finds(prepared))

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
        others = [each.aclose for each in self._others.values()]
        await close_all((*twin, *others, self._batch.aclose))

    def _way(self, left: JSON) -> Provider:
        lane = lane_in(left)
        if lane == "batch":
            return self._batch
        if lane == self._lane:
            return self._twin
        if lane not in self._others:  # it was sent while the bridge was in another mode
            self._others[lane] = open_lane(self._batch, lane)
        return self._others[lane]


def switch(
    provider: Provider, flush: FlushPolicy, mode: AnyMode | None, realtime_below: int | None, *, what: str
) -> tuple[Provider, FlushPolicy, AnyMode]:
    """Return the provider and the policy for a mode, and the mode that counts.

    Args:
        provider: The provider.
        flush: When to send, in a mode that pools.
        mode: As it was given; `None` leaves it to the environment.
        realtime_below: As it was given, for `"auto"`.
        what: The object with these arguments, for the errors.

    Raises:
        TypeError: The provider has no realtime way, and one was asked for.
        ValueError: There is no such mode, or `realtime_below` does not fit it.
    """
    if mode is not None and mode != "auto" and mode not in LANES:
        raise ValueError(f'{what}(mode={mode!r}) is not a mode; pass {NAMES}, "auto", or None')
    counts: AnyMode = "auto" if mode == "auto" else resolve_mode(mode, what=what)
    _check_below(counts, realtime_below, what)
    if _is_lane(provider):
        return _of_calls(provider, flush, mode, what)
    if not has_realtime(provider) and "realtime" in (mode, counts):
        if mode == "realtime":
            raise _no_realtime(provider, mode, what)
        logger.warning(
            "%s is %r, but %s does not support realtime: its queue is sent immediately, in batches",
            VARIABLE,
            counts,
            type(provider).__name__,
        )
        return provider, _at_once(flush), "batch"
    if counts == "auto":
        if not has_realtime(provider):
            raise _no_realtime(provider, counts, what)
        return ModeSwitch(provider, realtime_below or 0), flush, counts
    if counts not in lanes_of(provider):
        if mode is not None:
            raise ValueError(f"{what}(mode={mode!r}): {no_lane(provider, counts)}")
        logger.warning("%s is %r, but %s; it answers in batches", VARIABLE, counts, no_lane(provider, counts))
        counts = "batch"
    return _of_lane(provider, flush, counts)


def _is_lane(provider: Provider) -> bool:
    """Return whether a provider is itself one of the other lanes."""
    return isinstance(provider, Realtime) or getattr(provider, "way", "batch").startswith("window:")


def _of_calls(
    provider: Any, flush: FlushPolicy, mode: AnyMode | None, what: str
) -> tuple[Provider, FlushPolicy, AnyMode]:
    """Return what `switch` does, of a provider that is itself the twin of one."""
    way = provider.way
    if mode not in (None, way):
        raise ValueError(f"{what}(mode={mode!r}): {provider!r} answers in {way} only; pass the provider itself")
    if provider.batch is not None:
        return ModeSwitch(provider.batch, math.inf, provider, way), _at_once(flush), way
    return provider, _at_once(flush), way


def _of_lane(provider: Provider, flush: FlushPolicy, lane: Mode) -> tuple[Provider, FlushPolicy, AnyMode]:
    if lane == "batch":
        return (ModeSwitch(provider, 0) if len(lanes_of(provider)) > 1 else provider), flush, lane
    twin = None if lane == "realtime" else open_lane(provider, lane)
    return ModeSwitch(provider, math.inf, twin, lane), _at_once(flush), lane


def _no_realtime(provider: Provider, mode: AnyMode, what: str) -> TypeError:
    return TypeError(
        f"{what}(mode={mode!r}): {type(provider).__name__} does not support realtime, and neither do submit and "
        "poll; pass a provider that does, such as OpenAIBatch, or omit mode="
    )


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
