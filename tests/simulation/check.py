"""What must be so after each history."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from batch_bridge.errors import RequestError, RequestFailed
from simulation.graphs import Shape, is_right
from simulation.provider import REFUSED, Provider, question_of
from simulation.store import SimStore


def answers(shape: Shape, names: Sequence[str], results: Sequence[Any], cancelled: Collection[str] = ()) -> None:
    """Each thread has its own answers; one that was refused, or cancelled, says so.

    Where a process dies while it cancels, what its requests ended with at the provider counts.
    """
    assert len(results) == len(names), results
    for name, result in zip(names, results, strict=True):
        if name in cancelled and isinstance(result, RequestError):
            continue
        if name.startswith(REFUSED):
            assert isinstance(result, RequestFailed), f"{name} ended with {result!r}"
            assert result.code == "refused", f"{name} ended with {result!r}"
        elif isinstance(result, BaseException):
            raise AssertionError(f"{name} ended with {result!r}") from result
        else:
            assert is_right(shape, name, result), f"{name} ended with {result!r}"


def paid(provider: Provider, questions: Iterable[str], cancelled: Collection[str] = ()) -> None:
    """Each question was paid once.

    One that was cancelled may be paid, and is asked again where a process died before its run could end with that.
    """
    wanted = Counter(each for each in questions if not each.startswith(REFUSED) and each not in cancelled)
    certain = Counter({each: count for each, count in provider.paid.items() if each not in cancelled})
    assert certain == wanted, f"paid {certain - wanted} twice, and never {wanted - certain}"
    assert all(provider.paid[each] <= 2 for each in cancelled), (
        f"paid {provider.paid} though {cancelled} were cancelled"
    )
    for each in provider.batches.values():  # a thread that has failed does not wait for the rest of what it has asked
        is_left = all(
            question_of(request).startswith(REFUSED) or question_of(request) in cancelled for request in each.requests
        )
        assert provider.look(each.handle).state == "ended" or is_left, f"{each.handle} runs still"


SUMMARIES = frozenset({"closed", "money", "batch_bridge_status"})
"""What stays for good: what batches came to, and how the owner was."""


def rows(store: SimStore, *, has_failed: bool, has_died: bool, has_slept: bool = False, is_down: bool = False) -> None:
    """Nothing is left in the store but summaries.

    What a thread was answered that has failed is kept for its next run; and so are the outcomes that a thread took in a
    process which has died: it is not known any more which they were. What a process was about to write as it was paused
    it writes when it goes on, though another one owns the bridge by then: no store has a compare-and-set. A claim that
    cannot be released, because the store is down, runs out by itself.
    """
    allowed = SUMMARIES | ({"batch_bridge_failures", "batches", "members"} if has_failed else set())
    if has_failed or has_died:
        allowed |= {"outcomes", "tries"}
    if is_down:
        allowed |= {"batch_bridge_claims"}
    if has_slept:
        allowed |= {"batches", "members", "outcomes", "tries"}
    kept = store.read()
    left = {kind: keys for kind, keys in kept.items() if kind not in allowed}
    assert not left, f"rows were left: {left}"
    accounts = set(kept.get("money", ())).difference(kept.get("closed", ()), kept.get("batches", ()))
    assert has_slept or not accounts, f"accounts of batches were left that there are not: {accounts}"


def report(provider: Provider, told: Any, *, has_failed: bool) -> None:
    """The report says what was done."""
    succeeded = provider.paid.total()
    assert told.outcomes.get("succeeded", 0) == succeeded, f"{told} and {succeeded} were answered"
    assert told.paid_twice == 0, told
    if not has_failed:
        batches = sum(not each.is_double for each in provider.batches.values())
        assert told.batches == batches, f"{told} and there were {batches} batches"
        assert told.requests == succeeded, f"{told} and {succeeded} were answered"
        assert told.resubmitted == provider.unpaid.total(), f"{told} and {provider.unpaid} were sent again"
