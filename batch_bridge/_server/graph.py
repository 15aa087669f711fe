"""The graph that a bridge is on a LangGraph server. A run of it is one tick; its nodes are the steps of the tick."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias

import httpx
from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore
from langgraph.types import Command
from langgraph_sdk.errors import APIError
from typing_extensions import TypedDict

from batch_bridge._node.platform.announce import user_of
from batch_bridge._node.platform.tickers import ticks_apart
from batch_bridge._server.commands import KNOWN, VERBS, Verb, check_limits, read, read_poll
from batch_bridge._server.tick import ServerHost
from batch_bridge.errors import CommandError, NoStoreError, OutsideGraphError


class BridgeInput(TypedDict, total=False):
    """What a run of a bridge may be started with. None of it is needed: an empty input is a tick.

    Attributes:
        wake: What started the run: `bell`, `timer`, or whatever a person says.
        flush: Send all that waits, whatever the policy says.
        replay: Deliver dead letters again: their request ids, or `all`.
        cancel: Give up what is waited for: `{"thread_id": …}`, `{"request_id": …}` or `{"batch": …}`, each with one id
            or a list of them, or `all`.
        erase: Erase what the store holds of users or threads: `{"user": …}` or `{"thread_id": …}`, with one or a list.
        poll: Look at batches at once, because there is news of them: their provider's ids, or `all`. A receiver of
            webhooks gives it.
        id: The id of the commands in `commands`; by default the run's id.
        by: The user to whose threads the commands are limited. The bridge writes it, in a run of its own.
    """

    wake: str
    flush: bool
    replay: list[str] | Literal["all"]
    cancel: dict[str, str | list[str]] | Literal["all"] | None
    erase: dict[str, str | list[str]] | None
    poll: list[str] | Literal["all"]
    id: str
    by: str


class BridgeState(BridgeInput, total=False):
    """What the bridge's thread shows.

    Attributes:
        waiting: Requests that wait to be sent.
        in_flight: Requests at the provider.
        batches: Batches at the provider.
        undelivered: Outcomes whose thread has not taken them yet.
        unclaimed: Answers that were paid for and that no wait asks for any more, as far as `retention` goes back.
        held: Requests of batches whose rows cannot be read: they are neither sent again nor answered.
        dead: Outcomes that could not be delivered.
        dead_letters: The first of them: request, thread, reason.
        last_error: What failed last; empty if nothing has.
        cost: What was paid, would have been paid in realtime, and was saved, by model and by lane, as far as
            `retention` goes back; amounts are exact strings, `null` where a price is not known.
        next_tick: When the bridge looks again by itself; empty if nothing waits.
        commands: The results of the last commands, newest last: id, verb, what, at, and the number of their requests.
    """

    waiting: int
    in_flight: int
    batches: int
    undelivered: int
    unclaimed: int
    held: int
    dead: int
    dead_letters: list[dict[str, str]]
    last_error: str
    cost: dict[str, Any]
    next_tick: str
    commands: list[dict[str, Any]]


_TAKEN: dict[str, Any] = {"flush": False, "replay": [], "cancel": None, "erase": None, "poll": [], "id": "", "by": ""}
"""No commands: the given ones are stored."""
_MOST_PASSES = 300
"""Passes through the steps in one run; then the next run continues."""
_Step: TypeAlias = str
"""The name of the node that comes next."""


def build(host_of: Callable[[str], ServerHost], name: str) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return a bridge's graph.

    Args:
        host_of: Returns this process's host of a graph id.
        name: The bridge's own name, by which it is known where a server does not say which graph runs.
    """
    steps = _Steps(host_of, name)
    graph = StateGraph(BridgeState, input_schema=BridgeInput)
    graph.add_node("collect", steps.collect)
    graph.add_node("advance", steps.advance)
    graph.add_node("deliver", steps.deliver)
    graph.add_node("flush", steps.flush)
    graph.add_node("rearm", steps.rearm)
    graph.add_edge(START, "collect")
    return graph.compile()


class _Steps:
    """The nodes."""

    def __init__(self, host_of: Callable[[str], ServerHost], name: str) -> None:
        self._host_of = host_of
        self._name = name

    async def collect(self, state: BridgeState, runtime: Runtime[Any]) -> Command[Literal["advance", "__end__"]]:
        """Take in the requests of newly parked threads, and carry out commands."""
        server, info, store = runtime.server_info, runtime.execution_info, runtime.store
        host = self._host(runtime)
        if store is None:
            raise NoStoreError("a bridge keeps its ledger in the deployment's store, and this server gives it none")
        run_id = _run_id(runtime)
        if ticks_apart(server):
            return await _leave(host, store, state, run_id, user_of(runtime))
        try:
            is_ours = server is None or info is None or await host.is_ours(store, str(info.thread_id))
        except Exception as error:  # noqa: BLE001  # as in `_step`: the store may be out of reach
            return _ended(_shown(host, state, await host.fail(error)) | _kept(state, run_id))
        if info is not None and not is_ours:
            # Started by hand, on a thread of its own: two ticks must not run side by side, so the bridge's own does it.
            by = await host.limited_to(store, user_of(runtime))
            given = await _given(host, str(info.thread_id), run_id, state)
            commands, poll = read(given), read_poll(given)
            check_limits(commands, by)
            handed: dict[str, Any] = dict(commands.items())
            if commands:
                handed |= {"id": state.get("id") or run_id, "by": by}
            if poll is not None:
                handed["poll"] = poll
            await host.hand_on(store, handed)
            return _ended({**_TAKEN, "id": handed.get("id", ""), "next_tick": "now, on the bridge's own thread"})

        async def work() -> _Step:
            if any(state.get(verb) for verb in VERBS) and (user := await host.limited_to(store, user_of(runtime))):
                host.last_error = f"the user {user!r} gave commands on the bridge's own thread; they were not executed"
                return END  # only the service passes commands on, and names their user
            commands = _read_or_note(host, state)
            await host.accept(store, state.get("id") or run_id, commands, by=state.get("by") or "")
            if not await host.begin(store, _tick(runtime)):
                return END
            _hear(host, state)
            await host.collect(user_of(runtime))
            return "advance"

        return await self._step(host, runtime, state, work, first=True)

    async def advance(
        self,
        state: BridgeState,
        runtime: Runtime[Any],
    ) -> Command[Literal["collect", "deliver", "__end__"]]:
        """Look after the batches that are due."""
        host = self._host(runtime)

        async def work() -> _Step:
            await host.advance()
            return "deliver"

        return await self._step(host, runtime, state, work)

    async def deliver(
        self,
        state: BridgeState,
        runtime: Runtime[Any],
    ) -> Command[Literal["collect", "flush", "__end__"]]:
        """Resume the threads whose outcomes are there."""
        host = self._host(runtime)

        async def work() -> _Step:
            await host.deliver()
            return "flush"

        return await self._step(host, runtime, state, work)

    async def flush(self, state: BridgeState, runtime: Runtime[Any]) -> Command[Literal["collect", "rearm", "__end__"]]:
        """Send what is due."""
        host = self._host(runtime)

        async def work() -> _Step:
            await host.flush()
            more = host.passes < _passes() and (host.again or await host.rest())
            return "collect" if more else "rearm"

        return await self._step(host, runtime, state, work)

    async def rearm(self, state: BridgeState, runtime: Runtime[Any]) -> Command[Literal["collect", "__end__"]]:
        """See to it that there is a next tick, and show how things are."""
        host = self._host(runtime)
        if not host.is_at(_tick(runtime)):
            return _astray(host)
        try:
            await host.count_money()
            await host.notify()
            wake_at = await host.end()
        except Exception as error:  # noqa: BLE001  # as in `_step`
            wake_at = await host.fail(error)
        except BaseException:
            await host.break_off()
            raise
        return _ended(_shown(host, state, wake_at))

    def _host(self, runtime: Runtime[Any]) -> ServerHost:
        if runtime.server_info is None:
            raise OutsideGraphError(
                "a bridge's graph runs only on a LangGraph server; elsewhere pass the Bridge to a Runner"
            )
        return self._host_of(runtime.server_info.graph_id or self._name)

    async def _step(
        self,
        host: ServerHost,
        runtime: Runtime[Any],
        state: BridgeState,
        work: Callable[[], Awaitable[_Step]],
        *,
        first: bool = False,
    ) -> Command[Any]:
        if not first and not host.is_at(_tick(runtime)):
            return _astray(host)
        try:
            then = await work()
        except GraphBubbleUp:
            raise
        except Exception as error:  # noqa: BLE001  # no other code would start the next tick
            return _ended(_shown(host, state, await host.fail(error)) | _kept(state, _run_id(runtime)))
        except BaseException:  # cancelled: what was taken in hand may be half done
            await host.break_off()
            raise
        return Command(goto=then, update=_TAKEN if first else None)


async def _leave(host: ServerHost, store: BaseStore, state: BridgeState, run_id: str, user: str) -> Command[Any]:
    """Store the commands of a run on a server where the bridge ticks outside of runs.

    Raises:
        CommandError: No such command exists, or this user may not give it.
    """
    commands = read(_input(state))
    check_limits(commands, user)
    given = state.get("id") or run_id
    await host.accept(store, given, commands, by=user)
    return _ended({**_TAKEN, "id": given, "next_tick": "by the process that ticks for this bridge"})


def _run_id(runtime: Runtime[Any]) -> str:
    info = runtime.execution_info
    return str(info.run_id or "") if info is not None else ""


def _tick(runtime: Runtime[Any]) -> str:
    """Return an id of this attempt of this run."""
    return f"{_run_id(runtime)} {get_config().get('metadata', {}).get('run_attempt', 1)}"


def _astray(host: ServerHost) -> Command[Any]:
    """Return where a run goes that finds itself in the middle of a tick which this process is not at.

    A run that was interrupted elsewhere and continues here starts over; a duplicate in this process ends.
    """
    return Command(goto="collect" if host.is_free else END)


def _ended(shown: dict[str, Any]) -> Command[Any]:
    return Command(update=shown, goto=END)


def _passes() -> int:
    """Return how many passes a run may make: one that is started by hand has LangGraph's low limit."""
    return min(int(get_config().get("recursion_limit", 25)) // 4 - 1, _MOST_PASSES)


async def _given(host: ServerHost, thread: str, run_id: str, state: BridgeState) -> Mapping[str, Any]:
    """Return the whole input of a run that was started by hand: a key that the graph does not know is in no state."""
    try:
        run: Any = await host.client.runs.get(thread, run_id)
    except (APIError, httpx.HTTPError):  # it is another user's thread, say
        return _input(state)
    given = (run.get("kwargs") or {}).get("input")
    return given if isinstance(given, Mapping) else {}


def _input(state: BridgeState) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name in KNOWN}


def _read_or_note(host: ServerHost, state: BridgeState) -> Mapping[Verb, Any]:
    """Return the commands that a tick was started with. An unknown command stops no tick: it is shown."""
    try:
        return read(_input(state))
    except CommandError as error:
        host.last_error = str(error)
        return {}


def _hear(host: ServerHost, state: BridgeState) -> None:
    """Have batches looked at in this tick that there is news of. What names none stops no tick: it is shown."""
    try:
        poll = read_poll(state)
    except CommandError as error:
        host.last_error = str(error)
    else:
        if poll is not None:
            host.hear(None if poll == "all" else poll)


def _kept(state: BridgeState, run_id: str) -> dict[str, Any]:
    """Return what a tick that has failed at once leaves in the state: the next one has the same commands."""
    return {"id": state.get("id") or run_id} if any(state.get(verb) for verb in VERBS) else {}


def _shown(host: ServerHost, state: BridgeState, wake_at: datetime | None) -> dict[str, Any]:
    next_tick = wake_at.isoformat(timespec="seconds") if wake_at else ""
    return {**host.status(), "next_tick": next_tick, "commands": host.commands(state.get("commands") or [])}
