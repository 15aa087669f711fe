"""Claims on a thread that waits for several bridges: one of them at a time may resume it.

Two answers on their way to one interrupt lose one of them, and the later may be taken for the answer to what the thread
asks next. A store has no compare-and-set, so a bridge writes its claim first, then looks for others', and steps back if
there is one: whichever of two looks last sees both.
"""

from datetime import datetime, timedelta

from langgraph.store.base import PutOp, SearchOp

from batch_bridge._ledger.rows import Rows

_ROOT = "batch_bridge_claims"
_MOST = 10_000
_TERM = timedelta(seconds=60)
"""For how long a claim counts whose owner has not taken it away."""


async def claim(store: Rows, thread: str, bridge: str, now: datetime) -> bool:
    """Claim a thread, and return whether no other bridge has; a claim that fails is taken back."""
    await store.abatch([PutOp(_namespace(thread), bridge, {"at": now.timestamp()}, index=False)])
    (claims,) = await store.abatch([SearchOp(_namespace(thread), limit=100)])
    since = (now - _TERM).timestamp()
    if any(other.key != bridge and _is_since(other.value.get("at"), since) for other in claims):
        await unclaim(store, thread, bridge)
        return False
    return True


def _is_since(at: object, since: float) -> bool:
    return isinstance(at, int | float) and at >= since


async def unclaim(store: Rows, thread: str, bridge: str) -> None:
    """Take a claim back."""
    await store.abatch([PutOp(_namespace(thread), bridge, None)])


async def forget_stale(store: Rows, now: datetime) -> None:
    """Delete the claims of ticks that were killed."""
    (claims,) = await store.abatch([SearchOp((_ROOT,), limit=_MOST)])
    since = (now - 2 * _TERM).timestamp()
    stale = [each for each in claims if "machine" not in each.value and not _is_since(each.value.get("at"), since)]
    await store.abatch([PutOp(each.namespace, each.key, None) for each in stale])


def _namespace(thread: str) -> tuple[str, ...]:
    return (_ROOT, thread)
