"""How a thread is forgotten, so that the next call that names it starts it again."""

from collections.abc import Mapping
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver

from batch_bridge._core.models import Succeeded
from batch_bridge._host.engine_loop import EngineLoop
from batch_bridge.errors import RunnerStateError
from batch_bridge.runner._run import RunHost
from batch_bridge.runner._threads.thread import sort_interrupts


async def restart(host: RunHost, engine_loops: Mapping[str, EngineLoop], thread_id: str) -> bool:
    """Forget a thread; see `Runner.restart`. What it has asked for and been sent is counted as unclaimed.

    Raises:
        RunnerStateError: The thread is under way, or its checkpointer cannot delete it.
    """
    if thread_id in host.under_way:
        raise RunnerStateError(
            f"thread {thread_id!r} is under way in this Runner; await what drives it, or cancel that, and then "
            "start the thread again"
        )
    host.under_way[thread_id] = None
    host.newcomers.discard(thread_id)
    try:
        return await _forget(host, engine_loops, thread_id)
    finally:
        host.under_way.pop(thread_id, None)


async def _forget(host: RunHost, engine_loops: Mapping[str, EngineLoop], thread_id: str) -> bool:
    saver: BaseCheckpointSaver[Any] = host.graph.checkpointer
    saved = await saver.aget_tuple({"configurable": {"thread_id": thread_id}})
    pending = [
        each
        for _, channel, value in (saved and saved.pending_writes) or ()
        if channel == "__interrupt__"
        for each in value
    ]
    ours, _ = sort_interrupts(pending)
    asks = {(each.id, each.batcher) for asked in ours.values() for each in asked if each.batcher in engine_loops}
    outcomes = await host.outcomes(asks)
    sent = {each for each, bridge in asks if engine_loops[bridge].engine.is_sent(each)}
    paid = sent | {each for each, outcome in outcomes.items() if isinstance(outcome, Succeeded)}
    await host.unclaimed.note(thread_id, sorted(paid))
    try:
        await saver.adelete_thread(thread_id)
    except NotImplementedError:
        raise RunnerStateError(
            f"thread {thread_id!r} cannot be started again: {type(saver).__name__} cannot delete a thread; run its "
            "input under another run_id or thread_id"
        ) from None
    await host.failures.forget(thread_id)
    for bridge, engine_loop in engine_loops.items():
        engine_loop.forget(each for each, of in asks if of == bridge and each in outcomes)
    return saved is not None
