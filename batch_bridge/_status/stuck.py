"""What does not get on, and what is to be known soon: a line for each, which says what to do. Pure."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from batch_bridge._status.models import Batch, Facts
from batch_bridge._status.words import span

REFUSED: Final = 600.0
"""Seconds for which a provider may refuse every look until that is told."""
ENOUGH: Final = 20
"""Ended batches of a group after which its slowest is a measure."""
_SOON: Final = 0.4
"""The part of the time that a provider keeps results for, after which whoever has not collected them is warned."""


def stuck_lines(facts: Facts) -> list[str]:
    """Return what does not get on."""
    batches = (_stuck_batch(batch, facts.history, facts.now) for batch in facts.open_batches)
    return [line for line in (_left_alone(facts), *batches) if line]


def _left_alone(facts: Facts) -> str:
    """Return what is to be said of threads that no process drives. What its owner has closed was left on purpose."""
    owner, threads = facts.owner, facts.threads
    if not facts.unfinished or facts.kind == "jobs" or owner.alive is not False or owner.closed:
        return ""
    left = threads.parked + threads.running
    what = f"{left:,} of its threads have not ended" if left else "it has not ended"
    who = f"its process {owner.pid} on {owner.host} is gone" if owner.pid else "no process has it open"
    return f"{who}, and {what}: run the same command again; it goes on where it stopped, and pays nothing twice"


def _stuck_batch(batch: Batch, history: Sequence[Batch], now: float) -> str:
    name = f"batch {batch.key}" + (f" ({batch.handle})" if batch.handle is not None else "")
    if batch.bad_since is not None and now - batch.bad_since >= REFUSED:
        return (
            f"{name}: the provider has refused every call for {span(now - batch.bad_since)}: {batch.problem}. See "
            "whether the key, the network and the account are in order; it is tried again by itself"
        )
    if batch.window_until is not None and batch.window_until < now:
        return (
            f"{name} is past its window by {span(now - batch.window_until)}: look it up at the provider; "
            "cancelled there, what it has not answered is sent again"
        )
    longest = _longest(batch.group, history)
    since = batch.since or batch.submitted_at
    if longest is not None and since is not None and now - since > longest:
        return (
            f"{name} has not moved for {span(now - since)}, longer than {ENOUGH} or more like it took in all "
            f"({span(longest)}): look it up at the provider"
        )
    return ""


def _longest(group: str, history: Sequence[Batch]) -> float | None:
    """Return how long all but the slowest hundredth of a group's batches took; `None` while there are too few."""
    took = sorted(
        each.ended_at - each.submitted_at
        for each in history
        if each.group == group and each.ended_at is not None and each.submitted_at is not None
    )
    return took[min(int(len(took) * 0.99), len(took) - 1)] if len(took) >= ENOUGH else None


def warning_lines(facts: Facts) -> Iterator[str]:
    """Yield what is to be known well before it is too late: results that a provider will delete."""
    for batch in facts.open_batches:
        if batch.expires_at is None or batch.submitted_at is None or (facts.owner.alive and not batch.failures):
            continue
        age, left = facts.now - batch.submitted_at, batch.expires_at - facts.now
        name = f"batch {batch.key} ({batch.handle})"
        if left <= 0:
            yield (
                f"{name} was sent {span(age)} ago, and its provider may have deleted its results: run the same command "
                "now, it collects what is there"
            )
        elif age >= _SOON * (age + left):
            day = datetime.fromtimestamp(batch.expires_at, UTC).strftime("%d %B %Y, %H:%M UTC")
            yield (
                f"the results of {name}, {batch.total:,} requests, are not collected, and its provider deletes them in "
                f"{span(left)}, on {day}: run the same command before that"
            )
