"""`wait` and its kin: what a node calls."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload

from langgraph.config import get_config
from langgraph.errors import GraphInterrupt
from langgraph.runtime import ExecutionInfo, Runtime, get_runtime

from batch_bridge._compat.langgraph import (
    forget_answer,
    forget_answer_sync,
    has_checkpointer,
    skip_old_answer,
)
from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.durations import Within, duration
from batch_bridge._core.json.json_values import digest, dumps
from batch_bridge._core.json.messages import decode, encode, has_messages, with_cost, without_ids
from batch_bridge._core.models import JSON, Outcome, Succeeded
from batch_bridge._core.payload.request_identity import Identity
from batch_bridge._node.execution import note_parked
from batch_bridge._node.given_items import check_item, check_items
from batch_bridge._node.label import check_label
from batch_bridge._node.pending_waits import LONG_GRACE, ParkedInterrupt, PendingWaits, pending_waits_of, taken_in
from batch_bridge._node.platform.announce import (
    announce,
    announce_sync,
    check_own_run,
    is_deployed,
    is_idle,
    keys_of,
    keys_of_sync,
    origin_of,
    user_of,
)
from batch_bridge._node.quiet_loop import keep_quiet
from batch_bridge._node.replayed import replayed
from batch_bridge._node.running_loop import is_on_loop
from batch_bridge._node.slow_rounds import note_late
from batch_bridge._node.step_limits import LINK, install
from batch_bridge._node.untracked_state import UntrackedMemory
from batch_bridge.errors import NoCheckpointerError, OutsideGraphError, RequestError, UnknownBatcherError

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, BaseMessage

T = TypeVar("T")

DEFAULT = "bridge"
"""The default bridge of a wait, if a Runner has several, and on a server."""
install()
_QUIET = 2
"""Turns of the event loop in which no sibling opens a wait, before the task parks."""


class Named(Protocol):
    """A bridge, as far as a node must know it."""

    @property
    def name(self) -> str:
        """What the bridge is called."""
        ...


@dataclass(slots=True)
class Link:
    """What the host of a graph and the waits inside it share.

    Attributes:
        bridges: The bridges of the host.
        retries: How often the thread has failed and been run again. Each retry may repeat failed requests.
        consumed: Ids of requests whose outcome a wait has returned or raised.
        parked: Ids of requests that a wait has raised an interrupt for, and the checkpoint namespaces of their tasks.
        untracked: What the host's threads hold in no checkpoint.
        by: The asker: the session that drives the graph.
        inherited: Whether an earlier session made the request whose answer the thread receives now.
        boxes: Those of the executions in which something waited.
        loaded: The thread's newest checkpoint, alone in a tuple, where its host has just read it: the leg begins there.
        grace: Seconds that slow siblings have before a node is called nondeterministic.
    """

    bridges: frozenset[str]
    retries: int = 0
    consumed: set[str] = field(default_factory=set)
    parked: dict[str, str] = field(default_factory=dict)
    untracked: UntrackedMemory = field(default_factory=UntrackedMemory)
    by: str = ""
    inherited: bool = False
    boxes: set[PendingWaits] = field(default_factory=set)
    loaded: tuple[Any] | None = None
    grace: float = LONG_GRACE

    def unclaimed(self, given: Iterable[str]) -> set[str]:
        """Return the answers that no wait has taken, of what the thread was `given` and of what it was given before.

        A task that has parked is run again, and may take them then.
        """
        held = {each for pending in self.boxes if not pending.is_parked for each in pending.unclaimed()}
        later = {each for pending in self.boxes if pending.is_parked for each in pending.unclaimed()}
        taken = {each for pending in self.boxes for each in pending.claimed()}
        return (held | set(given)) - taken - later


@overload
async def wait(
    item: Sequence["BaseMessage"],
    *,
    batcher: str | Named | None = None,
    key: str | None = None,
    deadline: Within = None,
    label: str | None = None,
) -> "AIMessage": ...
@overload
async def wait(
    item: Any,
    *,
    batcher: str | Named | None = None,
    key: str | None = None,
    deadline: Within = None,
    label: str | None = None,
) -> Any: ...
async def wait(
    item: Any,
    *,
    batcher: str | Named | None = None,
    key: str | None = None,
    deadline: Within = None,
    label: str | None = None,
) -> Any:
    """Park this thread until a batch has answered `item`.

    When the answer is available, the node runs again from its first line, and this call returns the answer. Waits that
    start together (`asyncio.gather`) share one round. A second wait for the same item is another request.

    Args:
        item: Anything JSON can carry, or LangChain messages. Taken as it is now; changing it later changes nothing.
        batcher: A bridge's name, or the bridge. Left out, it is the Runner's only bridge, else `"bridge"`.
        key: Names the request where the node is not deterministic: it takes the place of the item's content in
            what makes this request the same one when the node is run again.
        deadline: How long the answer may take (a duration), from now; then it comes from the bridge's
            fallback, see `Bridge`. `None` leaves that to the bridge. Waits with one deadline share batches.
        label: What receipts call it, up to 200 characters; `None`: the name of the node. It tells no
            requests apart.

    Returns:
        The answer: JSON, or LangChain messages if the provider returns them. For a type checker messages are answered
        with an `AIMessage`, as the bundled providers do, and all else with `Any`.

    Raises:
        RequestFailed, RequestExpired, RequestCancelled: The request ended without an answer. If the node is
            retried (`RetryPolicy`), the retry sends the request again.
        JSONError: The item contains something that is not valid JSON.
        TypeError, ValueError: The deadline is invalid.
        UnknownBatcherError, NoCheckpointerError, OutsideGraphError, NondeterministicNodeError: The program is wrong.
        NoStoreError, BridgeUnreachableError: The same, on a LangGraph server.
        GraphInterrupt: LangGraph's way to park. Do not catch it: no `except Exception` around a wait.
    """
    pending, (asked,) = _open([check_item(item, "wait()")], batcher, key, deadline, label)
    return _unwrap(*await _resolve(pending, asked), _consumed())


@overload
async def wait_many(
    items: Sequence[Sequence["BaseMessage"]],
    *,
    batcher: str | Named | None = None,
    deadline: Within = None,
    return_exceptions: Literal[False] = False,
    label: str | None = None,
) -> list["AIMessage"]: ...
@overload
async def wait_many(
    items: Sequence[Any],
    *,
    batcher: str | Named | None = None,
    deadline: Within = None,
    return_exceptions: Literal[False] = False,
    label: str | None = None,
) -> list[Any]: ...
@overload
async def wait_many(
    items: Sequence[Any],
    *,
    batcher: str | Named | None = None,
    deadline: Within = None,
    return_exceptions: bool,
    label: str | None = None,
) -> list[Any | RequestError]: ...
async def wait_many(
    items: Sequence[Any],
    *,
    batcher: str | Named | None = None,
    deadline: Within = None,
    return_exceptions: bool = False,
    label: str | None = None,
) -> list[Any]:
    """Park this thread until a batch has answered all `items`: one interrupt, one round.

    Args:
        items: As for `wait`.
        batcher: As for `wait`.
        deadline: As for `wait`.
        return_exceptions: Return the `RequestError` of a request that failed in its place, instead of raising the
            first of them.
        label: As for `wait`, of all of them.

    Returns:
        The answers, in the order of the items.

    Raises:
        As `wait`.
    """
    pending, asked = _open(check_items(items, "wait_many()"), batcher, None, deadline, label)
    for each in asked:
        pending.look_up(*each)
    ended = [await _resolve(pending, each) for each in asked]
    return _unwrap_all(ended, return_exceptions=return_exceptions)


@overload
def wait_sync(
    item: Sequence["BaseMessage"],
    *,
    batcher: str | Named | None = None,
    key: str | None = None,
    deadline: Within = None,
    label: str | None = None,
) -> "AIMessage": ...
@overload
def wait_sync(
    item: Any,
    *,
    batcher: str | Named | None = None,
    key: str | None = None,
    deadline: Within = None,
    label: str | None = None,
) -> Any: ...
def wait_sync(
    item: Any,
    *,
    batcher: str | Named | None = None,
    key: str | None = None,
    deadline: Within = None,
    label: str | None = None,
) -> Any:
    """Do what `wait` does, in a node that is not async. For several items use `wait_many_sync`."""
    pending, (asked,) = _open([check_item(item, "wait()")], batcher, key, deadline, label)
    return _unwrap(*_resolve_sync(pending, asked), _consumed())


@overload
def wait_many_sync(
    items: Sequence[Sequence["BaseMessage"]],
    *,
    batcher: str | Named | None = None,
    deadline: Within = None,
    return_exceptions: Literal[False] = False,
    label: str | None = None,
) -> list["AIMessage"]: ...
@overload
def wait_many_sync(
    items: Sequence[Any],
    *,
    batcher: str | Named | None = None,
    deadline: Within = None,
    return_exceptions: bool = False,
    label: str | None = None,
) -> list[Any]: ...
def wait_many_sync(
    items: Sequence[Any],
    *,
    batcher: str | Named | None = None,
    deadline: Within = None,
    return_exceptions: bool = False,
    label: str | None = None,
) -> list[Any]:
    """Do what `wait_many` does, in a node that is not async."""
    pending, asked = _open(check_items(items, "wait_many()"), batcher, None, deadline, label)
    for each in asked:
        pending.look_up(*each)
    return _unwrap_all([_resolve_sync(pending, each) for each in asked], return_exceptions=return_exceptions)


async def wait_outcome(
    item: Any,
    *,
    batcher: str | Named | None = None,
    key: str | None = None,
    deadline: Within = None,
    is_priced: bool = False,
) -> tuple[str, Outcome]:
    """Park this thread like `wait`, and return the request's id and its outcome; the answer is not decoded.

    With `is_priced` the outcome tells what was paid, where that is known. An answer that the node was given before is
    `Replayed`.
    """
    pending, (asked,) = _open([check_item(item, "wait()")], batcher, key, deadline, is_priced=is_priced)
    return _note(pending, *await _resolve(pending, asked))


def wait_outcome_sync(
    item: Any,
    *,
    batcher: str | Named | None = None,
    key: str | None = None,
    deadline: Within = None,
    is_priced: bool = False,
) -> tuple[str, Outcome]:
    """Park this thread like `wait_outcome`, in a synchronous node."""
    pending, (asked,) = _open([check_item(item, "wait()")], batcher, key, deadline, is_priced=is_priced)
    return _note(pending, *_resolve_sync(pending, asked))


def in_node() -> bool:
    """Return whether a LangGraph node or task runs here. Only its first wait checks whether it can park."""
    try:
        return get_runtime().execution_info is not None
    except (RuntimeError, KeyError, AttributeError):
        return False


async def gather(*awaitables: Awaitable[T]) -> list[T]:
    """Await LangGraph `@task`s together, so that their waits share one round.

    `asyncio.gather` would raise the interrupts of several tasks one at a time. This function waits for all of them, and
    raises their interrupts as one. Other errors take precedence. It also works for any other awaitables.

    Returns:
        The results, in order.
    """
    results = await asyncio.gather(*awaitables, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, GraphInterrupt):
            raise result
    if interrupts := [result for result in results if isinstance(result, GraphInterrupt)]:
        raise _merge(interrupts)
    return [result for result in results if not isinstance(result, BaseException)]


class TaskGroup(asyncio.TaskGroup):
    """An `asyncio.TaskGroup` whose tasks may wait.

    The class of asyncio wraps the exceptions of its tasks into an `ExceptionGroup`, which LangGraph does not treat as
    an interrupt: the node would fail instead of parking. This class raises the interrupts of its tasks as one, and
    everything else as asyncio does.
    """

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the tasks; see `asyncio.TaskGroup`."""
        try:
            await super().__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            interrupted, rest = group.split(GraphInterrupt)
            if interrupted is None or rest is not None:
                raise
            raise _merge(_leaves(interrupted)) from None


def _leaves(group: BaseExceptionGroup[GraphInterrupt]) -> list[GraphInterrupt]:
    return [
        leaf
        for each in group.exceptions
        for leaf in (_leaves(each) if isinstance(each, BaseExceptionGroup) else [each])
    ]


def _merge(raised: Sequence[GraphInterrupt]) -> GraphInterrupt:
    """Return one `GraphInterrupt` for several; waits of one execution share one interrupt, with one id."""
    merged = tuple({each.id: each for one in raised for each in one.args[0]}.values())
    return (
        ParkedInterrupt(merged) if all(isinstance(one, ParkedInterrupt) for one in raised) else GraphInterrupt(merged)
    )


# -- one execution -------------------------------------------------------------------------------------------------


def _open(
    items: Iterable[Any],
    batcher: str | Named | None,
    key: str | None,
    deadline: Within,
    label: str | None = None,
    *,
    is_priced: bool = False,
) -> tuple[PendingWaits, list[tuple[Identity, JSON]]]:
    within = duration(deadline)
    info, run, link = _execution()
    called = check_label(label, info.checkpoint_ns)
    skip_old_answer()
    if (tenant := user_of(get_runtime())) and link is None:
        check_own_run(get_runtime())
    name = _name_of(batcher, link)
    if link is not None and name not in link.bridges:
        known = ", ".join(sorted(map(repr, link.bridges)))
        raise UnknownBatcherError(
            f"wait(…, batcher={name!r}): this Runner has no bridge of that name, only {known}; "
            "pass the Runner a Bridge(…, name=…) with it, or name one of these"
        )
    execution = (info.thread_id, info.checkpoint_ns, info.node_attempt, info.node_first_attempt_time)
    retries = info.node_attempt - 1 + (link.retries if link else 0)
    is_on_server = link is None and is_deployed(get_runtime())
    pending = pending_waits_of(
        run,
        execution,
        retries,
        origin_of(get_runtime()),
        attempt=info.node_attempt,
        by=link.by if link else "",
        signs_for=str(info.thread_id) if is_on_server else "",
        asks_refused=is_on_server,
        grace=link.grace if link else LONG_GRACE,
    )
    if link is not None:
        link.boxes.add(pending)
    asked = []
    for item in items:
        encoded = encode(item)
        if key is not None:
            content = digest(b"key:" + key.encode())
        else:
            content = digest(dumps(without_ids(encoded) if has_messages(item) else encoded))
        try:
            identity = pending.identify(
                str(info.thread_id),
                info.checkpoint_ns,
                name,
                content,
                key=key,
                tenant=tenant,
                deadline=within,
                label=called,
                is_priced=is_priced or has_messages(item),
            )
        except GraphInterrupt:  # the task has parked without this one
            note_late(info.thread_id, info.checkpoint_ns, pending.rounds)
            raise
        asked.append((identity, encoded))
    return pending, asked


def _name_of(batcher: str | Named | None, link: Link | None) -> str:
    """Return the bridge's name; without one, that of the Runner's only bridge."""
    if batcher is None:
        return next(iter(link.bridges)) if link is not None and len(link.bridges) == 1 else DEFAULT
    return batcher if isinstance(batcher, str) else batcher.name


def _execution() -> tuple[ExecutionInfo, Callable[[Any], None], Link | None]:
    try:
        runtime, configurable = get_runtime(), get_config()["configurable"]
        info = runtime.execution_info
    except (RuntimeError, KeyError, AttributeError):
        info = None
    if info is None:
        raise OutsideGraphError(
            "wait() was called outside a LangGraph node; call it inside a node or a task of a graph "
            "(in a thread of your own, copy the node's context with contextvars), or use a Batcher"
        )
    if info.thread_id is None or not has_checkpointer(configurable):
        raise NoCheckpointerError(
            "wait() needs a checkpointer to park this thread, and its graph has none; "
            "run the graph with a Runner, or compile it with a checkpointer and pass a thread_id. "
            "A subgraph must not be compiled with checkpointer=False"
        )
    return info, runtime.stream_writer, configurable.get(LINK)


def _note(pending: PendingWaits, request_id: str, outcome: Outcome) -> tuple[str, Outcome]:
    consumed = _consumed()
    was_given = pending.was_given(request_id) or (consumed is not None and request_id in consumed)
    if consumed is not None:
        consumed.add(request_id)
    return request_id, replayed(outcome) if was_given else outcome


def _run_id(runtime: Runtime[Any]) -> str:
    info = runtime.execution_info
    return str(info.run_id or "") if info is not None else ""


def _consumed() -> set[str] | None:
    link: Link | None = get_config()["configurable"].get(LINK)
    if link is not None:
        return link.consumed
    runtime = get_runtime()
    return taken_in(_run_id(runtime)) if is_deployed(runtime) else None


async def _resolve(pending: PendingWaits, asked: tuple[Identity, JSON]) -> tuple[str, Outcome]:
    request_id, outcome = pending.look_up(*asked)
    quiet = 0
    while outcome is None and quiet < _QUIET:  # siblings that start together open theirs
        version = pending.version
        await asyncio.sleep(0)
        quiet = quiet + 1 if pending.version == version else 0
        request_id, outcome = pending.look_up(*asked)
    while outcome is None:
        if pending.lacks_keys:
            pending.give_keys(await keys_of(get_runtime(), again=pending.lacks_new_keys))
            request_id, outcome = pending.look_up(*asked)
            continue
        try:
            pause = pending.advance()
        except GraphInterrupt:
            keep_quiet(asyncio.get_running_loop())
            await _tell(pending)
            note_parked()
            raise
        if pause:
            await asyncio.sleep(pause)
        request_id, outcome = pending.look_up(*asked)
    return request_id, outcome


def _resolve_sync(pending: PendingWaits, asked: tuple[Identity, JSON]) -> tuple[str, Outcome]:
    request_id, outcome = pending.look_up(*asked)
    while outcome is None:
        if pending.lacks_keys:
            pending.give_keys(keys_of_sync(get_runtime(), again=pending.lacks_new_keys))
            request_id, outcome = pending.look_up(*asked)
            continue
        try:
            pause = pending.advance()
        except GraphInterrupt:
            _tell_sync(pending)
            note_parked()
            raise
        if pause:
            time.sleep(pause)
        request_id, outcome = pending.look_up(*asked)
    return request_id, outcome


async def _tell(pending: PendingWaits) -> None:
    """Announce to the bridges of a LangGraph server that this task is about to park, once for all its waits."""
    await forget_answer()
    runtime, link = get_runtime(), get_config()["configurable"].get(LINK)
    if link is not None:
        _note_parked(link, runtime, pending)
    elif is_deployed(runtime):
        idle = is_idle(taken_in(_run_id(runtime)))
        told, mine = pending.tell()
        if mine:
            telling = asyncio.ensure_future(
                announce(runtime, pending.asks, idle=idle, unclaimed=pending.unclaimed(foreign=True))
            )
            telling.add_done_callback(partial(_copy, told))
        await asyncio.shield(asyncio.wrap_future(told))


def _tell_sync(pending: PendingWaits) -> None:
    if not is_on_loop():
        forget_answer_sync()
    runtime, link = get_runtime(), get_config()["configurable"].get(LINK)
    if link is not None:
        _note_parked(link, runtime, pending)
    elif is_deployed(runtime):
        idle = is_idle(taken_in(_run_id(runtime)))
        told, mine = pending.tell()
        if mine:
            try:
                announce_sync(runtime, pending.asks, idle=idle, unclaimed=pending.unclaimed(foreign=True))
            except BaseException as error:
                told.set_exception(error)
                raise
            told.set_result(None)
        told.result()


def _note_parked(link: Link, runtime: Runtime[Any], pending: PendingWaits) -> None:
    info = runtime.execution_info
    namespace = info.checkpoint_ns if info is not None else ""
    link.parked.update({request_id: namespace for asked in pending.asks.values() for request_id in asked})


def _copy(told: Future[None], telling: "asyncio.Future[None]") -> None:
    if telling.cancelled():
        told.cancel()
    elif (error := telling.exception()) is not None:
        told.set_exception(error)
    else:
        told.set_result(None)


def _unwrap(request_id: str, outcome: Outcome, consumed: set[str] | None) -> Any:
    if consumed is not None:
        consumed.add(request_id)
    if isinstance(outcome, Succeeded):
        return with_cost(decode(outcome.answer), outcome.cost)
    raise _outcome.to_error(request_id, outcome)


def _unwrap_all(ended: Sequence[tuple[str, Outcome]], *, return_exceptions: bool) -> list[Any]:
    consumed = _consumed()
    answers = []
    for each in ended:
        try:
            answers.append(_unwrap(*each, consumed))
        except RequestError as error:
            if not return_exceptions:
                raise
            answers.append(error)
    return answers
