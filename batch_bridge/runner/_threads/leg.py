"""One leg of a thread: it begins or is resumed, and runs until it parks or ends."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, Interrupt

from batch_bridge._compat.langgraph import forget_old_answer
from batch_bridge._core.models import Outcome, Succeeded
from batch_bridge._core.outcomes import raise_over_budget
from batch_bridge._core.payload.interrupt_payload import Asked
from batch_bridge._node.link import Link
from batch_bridge._node.slow_rounds import note_hidden
from batch_bridge._node.untracked_state import UntrackedMemory
from batch_bridge.errors import NondeterministicNodeError, SwallowedInterruptError
from batch_bridge.runner._threads.configs import Configs, leg_config
from batch_bridge.runner._threads.recovery import Begin, Failures, start
from batch_bridge.runner._threads.stream import LegFilter, StreamChunk
from batch_bridge.runner._threads.thread import Thread, authors, resume_map, sort_interrupts, split_interrupts
from batch_bridge.runner._threads.unclaimed import Unclaimed

_STRIKES = 2
"""Deliveries in a row that a thread may let pass without consuming anything, before it is an error."""


class LegHolder(Protocol):
    """What a leg needs of the session that its call belongs to."""

    graph: Any
    bridges: frozenset[str]
    failures: Failures
    untracked: UntrackedMemory
    grace: float
    unclaimed: Unclaimed
    by: str
    """Who asks: this session."""

    async def outcomes(self, asks: Iterable[tuple[str, str]]) -> dict[str, Outcome]:
        """Read what is known of (request id, bridge) pairs."""
        ...

    def told(self, asks: Iterable[tuple[str, str]]) -> None:
        """Note that a thread was resumed with the outcomes of (request id, bridge) pairs."""
        ...

    def release(self, thread: Thread) -> None:
        """Release an ended thread's outcomes."""
        ...


class LegCall(Protocol):
    """What a leg needs of the call that its thread belongs to; see `Run`."""

    options: Mapping[str, Any]
    output: "asyncio.Queue[tuple[int, Any] | BaseException | None]"
    is_named: bool
    is_cancelled: bool
    ended_before: int
    shown: LegFilter | None

    @property
    def host(self) -> LegHolder:
        """The session."""
        ...

    @property
    def configs(self) -> Configs:
        """Of its threads."""
        ...

    def park(self, thread: Thread, interrupts: dict[str, list[Asked]]) -> None:
        """Wait for what a thread asks for."""
        ...

    def end(self, thread: Thread, result: Any) -> None:
        """Take a thread's result."""
        ...


async def begin(call: LegCall, thread: Thread, value: Any, *, is_new: bool = False) -> None:
    """Begin a thread, or find it again. With `is_new` it has no checkpoint, and has not failed before."""
    host = call.host
    link = Link(host.bridges, by=host.by, untracked=host.untracked, grace=host.grace)
    replay = False
    if is_new:
        link.loaded = (None,)
    elif thread.digest or is_no_input(value):
        await host.failures.read(thread)
        link.retries = thread.failures
        named = leg_config(call.configs.of(thread.index), thread, link, replay=True)
        step = await start(host.graph, named, thread, value, continued=call.is_named)
        if not isinstance(step, Begin):
            call.park(thread, step.interrupts)
            return
        value, replay = step.input, step.replay
        link.loaded = (None,) if step.is_new else None
        call.ended_before += step.ended
    await _step(call, thread, value, leg_config(call.configs.of(thread.index), thread, link, replay=replay), link)


async def resume(call: LegCall, thread: Thread) -> None:
    """Give a thread what is known of what it asks for. If another process has continued it, it is found again."""
    host = call.host
    link = Link(host.bridges, thread.failures, by=host.by, untracked=host.untracked, grace=host.grace)
    config = leg_config(call.configs.of(thread.index), thread, link)
    ready = thread.due()
    known = await host.outcomes({ask for interrupt in ready for ask in interrupt.asks})
    interrupts = await _pending(host, config, link)  # last: nothing may change what it has read before the leg
    pending, _ = sort_interrupts(interrupts)
    due = [
        interrupt
        for interrupt in ready
        if {(each.id, each.batcher) for each in pending.get(interrupt.id, ())} == set(interrupt.asks)
    ]
    asked = {request_id for interrupt in due for request_id, _ in interrupt.asks}
    outcomes = {request_id: known[request_id] for request_id in known.keys() & asked}
    raise_over_budget(outcomes)  # it stays parked, so that it asks the same again once there is more to spend
    asked_by = authors(interrupts)
    answers = resume_map(due, outcomes, asked_by)
    link.inherited = any(asked_by[each.id] != host.by for each in due)
    if not answers:  # another process has continued this thread
        link.loaded = None
        await _find_again(call, thread, config, link)
        return
    asks = tuple(ask for interrupt in due for ask in interrupt.asks if ask[0] in outcomes)
    thread.delivered += asks
    answered = [each for one in due for each in pending[one.id] if isinstance(outcomes.get(each.id), Succeeded)]
    try:
        await _step(call, thread, Command(resume=answers), config, link, answered=answered)
    finally:
        if not call.is_cancelled:
            host.told(asks)


async def _pending(host: LegHolder, config: RunnableConfig, link: Link) -> list[Interrupt]:
    """Return the interrupts that are pending, as LangGraph has persisted them: an address alone proves nothing.

    A human's answer that an earlier run took is not there for the next. The leg need not read them again.
    """
    saver = host.graph.checkpointer
    saved = await saver.aget_tuple(config)
    if saved is None:
        return []
    writes = saved.pending_writes or ()
    if not await forget_old_answer(saver, saved.config, writes):
        link.loaded = (saved,)
    return [each for _, channel, value in writes if channel == "__interrupt__" for each in value]


async def _find_again(call: LegCall, thread: Thread, config: RunnableConfig, link: Link) -> None:
    step = await start(call.host.graph, config, thread, None, continued=True)
    if isinstance(step, Begin):
        await _step(call, thread, step.input, config, link)
    else:
        call.park(thread, step.interrupts)


async def _step(
    call: LegCall,
    thread: Thread,
    value: Any,
    config: RunnableConfig,
    link: Link,
    *,
    answered: Sequence[Asked] = (),
) -> None:
    host = call.host
    if call.shown is not None:
        result, interrupts = await _stream(call, thread, value, config, link)
        ours, others = sort_interrupts(interrupts)
    else:
        result, ours, others = await _invoke(call, thread, value, config, link)
    if unclaimed := link.unclaimed(each.id for each in answered):
        await host.unclaimed.note(thread.id, unclaimed)
    asked_for = {each.id for asked in ours.values() for each in asked}
    thread.unseen = (thread.unseen | link.parked.keys()) - asked_for
    if thread.unseen and not ours and not others:
        raise SwallowedInterruptError(
            f"thread {thread.id!r} has ended without waiting for {len(thread.unseen)} answer(s) that it "
            "requested: a node caught the interrupt that a wait, or a call of a wrapped client, raises to park it. "
            "Catch RequestError, or the client's own errors, instead of Exception, and run again with another "
            "run_id or thread_id: this thread's state contains what the node returned instead"
        )
    if not ours:
        if not others:  # at a human's question its nodes still hold what has failed, and have it behind them
            await host.failures.clear(thread)
        host.release(thread)
        call.end(thread, result)
        return
    hidden = link.parked.keys() - asked_for
    thread.hidden = thread.hidden + 1 if hidden else 0
    for request_id in hidden:
        note_hidden(link.parked[request_id], thread.hidden)
    if link.consumed or not isinstance(value, Command):
        thread.strikes = 0
    elif not link.inherited:  # else it was asked for by code that may have been another
        thread.strikes += 1
    if thread.strikes > _STRIKES or (thread.strikes and not link.inherited and _is_asked_again(answered, ours)):
        raise NondeterministicNodeError(
            f"thread {thread.id!r} received its answers, took none of them, and built new requests. Is a subgraph "
            "compiled with checkpointer=False, or a node run under new names? A wait must be found again when "
            "its thread is resumed: compile the subgraph without checkpointer=, or wait outside of it"
        )
    call.park(thread, ours)


async def _invoke(
    call: LegCall, thread: Thread, value: Any, config: RunnableConfig, link: Link
) -> tuple[Any, dict[str, list[Asked]], bool]:
    """Run one leg; return its result, our interrupts by address, and whether there are others."""
    graph = call.host.graph
    result = await graph.ainvoke(value, config, **call.options)
    if call.options.get("stream_mode", "values") == "values":
        return result, *split_interrupts(result)
    thread.chunks += tuple(result)  # which need not contain interrupts
    snapshot = await graph.aget_state(leg_config(call.configs.of(thread.index), thread, link))
    return list(thread.chunks), *sort_interrupts(snapshot.interrupts)


async def _stream(
    call: LegCall, thread: Thread, value: Any, config: RunnableConfig, link: Link
) -> tuple[Any, Sequence[Interrupt]]:
    """Run one leg, and show its chunks; return the state that it ended with, and its interrupts."""
    graph, shown = call.host.graph, call.shown
    assert shown is not None  # noqa: S101  # it is streamed
    shown.begin()
    async for chunk in graph.astream(value, config, **call.options):
        for each in shown.pick(chunk):
            call.output.put_nowait((thread.index, StreamChunk(each)))
    snapshot = await graph.aget_state(leg_config(call.configs.of(thread.index), thread, link))
    return snapshot.values, snapshot.interrupts


def is_no_input(value: object) -> bool:
    """Return whether this continues an existing thread instead of beginning one."""
    return value is None or isinstance(value, Command)


def _is_asked_again(answered: Sequence[Asked], asked: Mapping[str, list[Asked]]) -> bool:
    """Return whether an item is asked for under another id than the one that it was answered under."""
    known = {each.id for each in answered}
    new = [each for requests in asked.values() for each in requests if each.id not in known]
    return any(each.batcher == old.batcher and each.item == old.item for each in new for old in answered)
