"""`wait` and its kin: what a node calls."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from langgraph.runtime import get_runtime

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.durations import Within
from batch_bridge._core.json.messages import decode, with_cost
from batch_bridge._core.models import Outcome, Succeeded
from batch_bridge._node.given_items import check_item, check_items
from batch_bridge._node.link import Named
from batch_bridge._node.parking import consumed_here, open_or_park, open_or_park_sync, resolve, resolve_sync
from batch_bridge._node.pending_waits import PendingWaits
from batch_bridge._node.replayed import replayed
from batch_bridge._node.step_limits import install
from batch_bridge.errors import RequestError

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, BaseMessage

T = TypeVar("T")

install()


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
    pending, (asked,) = await open_or_park([check_item(item, "wait()")], batcher, key, deadline, label)
    return _unwrap(*await resolve(pending, asked), consumed_here())


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
    pending, asked = await open_or_park(check_items(items, "wait_many()"), batcher, None, deadline, label)
    for each in asked:
        pending.look_up(*each)
    ended = [await resolve(pending, each) for each in asked]
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
    pending, (asked,) = open_or_park_sync([check_item(item, "wait()")], batcher, key, deadline, label)
    return _unwrap(*resolve_sync(pending, asked), consumed_here())


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
    pending, asked = open_or_park_sync(check_items(items, "wait_many()"), batcher, None, deadline, label)
    for each in asked:
        pending.look_up(*each)
    return _unwrap_all([resolve_sync(pending, each) for each in asked], return_exceptions=return_exceptions)


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
    pending, (asked,) = await open_or_park([check_item(item, "wait()")], batcher, key, deadline, is_priced=is_priced)
    return _note(pending, *await resolve(pending, asked))


def wait_outcome_sync(
    item: Any,
    *,
    batcher: str | Named | None = None,
    key: str | None = None,
    deadline: Within = None,
    is_priced: bool = False,
) -> tuple[str, Outcome]:
    """Park this thread like `wait_outcome`, in a synchronous node."""
    pending, (asked,) = open_or_park_sync([check_item(item, "wait()")], batcher, key, deadline, is_priced=is_priced)
    return _note(pending, *resolve_sync(pending, asked))


def in_node() -> bool:
    """Return whether a LangGraph node or task runs here. Only its first wait checks whether it can park."""
    try:
        return get_runtime().execution_info is not None
    except (RuntimeError, KeyError, AttributeError):
        return False


def _note(pending: PendingWaits, request_id: str, outcome: Outcome) -> tuple[str, Outcome]:
    consumed = consumed_here()
    was_given = pending.was_given(request_id) or (consumed is not None and request_id in consumed)
    if consumed is not None:
        consumed.add(request_id)
    return request_id, replayed(outcome) if was_given else outcome


def _unwrap(request_id: str, outcome: Outcome, consumed: set[str] | None) -> Any:
    if consumed is not None:
        consumed.add(request_id)
    if isinstance(outcome, Succeeded):
        return with_cost(decode(outcome.answer), outcome.cost)
    raise _outcome.to_error(request_id, outcome)


def _unwrap_all(ended: Sequence[tuple[str, Outcome]], *, return_exceptions: bool) -> list[Any]:
    consumed = consumed_here()
    answers = []
    for each in ended:
        try:
            answers.append(_unwrap(*each, consumed))
        except RequestError as error:
            if not return_exceptions:
                raise
            answers.append(error)
    return answers
