"""The graph that a bridge is on a LangGraph server. A run of it is one tick; its nodes are the steps of the tick."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Literal, TypeAlias

from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command
from typing_extensions import TypedDict

from batch_bridge._deployment._access import bridge_thread
from batch_bridge._deployment._announce import user_of
from batch_bridge._deployment._bell import start_tick
from batch_bridge._server._host import Host
from batch_bridge.errors import NoStoreError, OutsideGraphError


class BridgeInput(TypedDict, total=False):
    """What a run of a bridge may be started with. None of it is needed: an empty input is a tick.

    Attributes:
        wake: What started the run: `bell`, `timer`, or whatever a person says.
        flush: Send all that waits, whatever the policy says.
        replay: Deliver dead letters again: their request ids, or `all`.
    """

    wake: str
    flush: bool
    replay: list[str] | Literal["all"]


class BridgeState(BridgeInput, total=False):
    """What the bridge's thread shows.

    Attributes:
        waiting: Requests that wait to be sent.
        in_flight: Requests at the provider.
        batches: Batches at the provider.
        undelivered: Outcomes whose thread has not taken them yet.
        dead_letters: Outcomes that could not be delivered, the first of them: request, thread, reason.
        last_error: What failed last; empty if nothing has.
        next_tick: When the bridge looks again by itself; empty if nothing waits.
    """

    waiting: int
    in_flight: int
    batches: int
    undelivered: int
    dead_letters: list[dict[str, str]]
    last_error: str
    next_tick: str


_MOST_PASSES = 300
"""Passes through the steps in one run; then the next run goes on."""
_Step: TypeAlias = str
"""The name of the node that comes next."""


def build(host_of: Callable[[str], Host]) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return a bridge's graph.

    Args:
        host_of: Returns this process's host of a graph id.
    """
    steps = _Steps(host_of)
    graph = StateGraph(BridgeState, input_schema=BridgeInput)
    graph.add_node("collect", steps.collect)
    graph.add_node("advance", steps.advance)
    graph.add_node("deliver", steps.deliver)
    graph.add_node("flush", steps.flush)
    graph.add_node("rearm", steps.rearm)
    graph.add_edge(START, "collect")
    graph.add_edge("rearm", END)
    return graph.compile()


class _Steps:
    """The nodes."""

    def __init__(self, host_of: Callable[[str], Host]) -> None:
        self._host_of = host_of

    async def collect(self, state: BridgeState, runtime: Runtime[Any]) -> Command[Literal["advance", "__end__"]]:
        """Take in what newly parked threads ask for."""
        server, info, store = runtime.server_info, runtime.execution_info, runtime.store
        host = self._host(runtime)
        if store is None:
            raise NoStoreError("a bridge keeps its ledger in the deployment's store, and this server gives it none")
        orders = _orders(state)
        if server is not None and info is not None and info.thread_id != bridge_thread(server.graph_id):
            # Started by hand, on a thread of its own: two ticks must not run side by side, so the bridge's own does it.
            await start_tick(host.client, server.graph_id, "hand", after=0, orders=orders)
            return _ended({"next_tick": "now, on the bridge's own thread"})

        async def work() -> _Step:
            if not await host.begin(store):
                return END
            if replay := orders.get("replay"):
                await host.replay(None if replay == "all" else list(replay))
            await host.collect(user_of(runtime))
            return "advance"

        return await self._step(host, work)

    async def advance(self, state: BridgeState, runtime: Runtime[Any]) -> Command[Literal["deliver", "__end__"]]:  # noqa: ARG002
        """Look after the batches that are due."""
        host = self._host(runtime)

        async def work() -> _Step:
            await host.advance()
            return "deliver"

        return await self._step(host, work)

    async def deliver(self, state: BridgeState, runtime: Runtime[Any]) -> Command[Literal["flush", "__end__"]]:  # noqa: ARG002
        """Resume the threads whose outcomes are there."""
        host = self._host(runtime)

        async def work() -> _Step:
            await host.deliver()
            return "flush"

        return await self._step(host, work)

    async def flush(self, state: BridgeState, runtime: Runtime[Any]) -> Command[Literal["collect", "rearm", "__end__"]]:
        """Send what is due."""
        host = self._host(runtime)

        async def work() -> _Step:
            await host.flush(everything=bool(state.get("flush")))
            more = host.passes < _passes() and (host.again or await host.rest())
            return "collect" if more else "rearm"

        return await self._step(host, work)

    async def rearm(self, state: BridgeState, runtime: Runtime[Any]) -> dict[str, Any]:  # noqa: ARG002
        """See to it that there is a next tick, and show how things are."""
        host = self._host(runtime)
        try:
            wake_at = await host.end()
        except Exception as error:  # noqa: BLE001  # as in `_step`
            wake_at = await host.fail(error)
        return _shown(host, wake_at)

    def _host(self, runtime: Runtime[Any]) -> Host:
        if runtime.server_info is None:
            raise OutsideGraphError(
                "a bridge's graph runs on a LangGraph server only; elsewhere give the Bridge to a Runner"
            )
        return self._host_of(runtime.server_info.graph_id)

    async def _step(self, host: Host, work: Callable[[], Awaitable[_Step]]) -> Command[Any]:
        try:
            then = await work()
        except GraphBubbleUp:
            raise
        except Exception as error:  # noqa: BLE001  # nobody else would start the next tick
            return _ended(_shown(host, await host.fail(error)))
        return Command(goto=then, update={"flush": False, "replay": []} if then == "collect" else None)


def _ended(shown: dict[str, Any]) -> Command[Any]:
    return Command(update=shown, goto=END)


def _passes() -> int:
    """Return how many passes a run may make: one that is started by hand has LangGraph's low limit."""
    return min(int(get_config().get("recursion_limit", 25)) // 4 - 1, _MOST_PASSES)


def _orders(state: BridgeState) -> dict[str, Any]:
    return {name: state[name] for name in ("flush", "replay") if state.get(name)}


def _shown(host: Host, wake_at: datetime | None) -> dict[str, Any]:
    next_tick = wake_at.isoformat(timespec="seconds") if wake_at else ""
    return {**host.status(), "next_tick": next_tick, "flush": False, "replay": []}
