"""Reports what makes no progress, and what will soon be too late: a line each, which says what to do. Pure."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from batch_bridge._core.policy.stuck import Stuck, advice, is_at_risk, judge, longest_of
from batch_bridge._core.wording.words import span
from batch_bridge._status.models import Batch, Facts


def stuck_lines(facts: Facts) -> list[str]:
    """Return what does not get on: a line for each batch, and one for all that a bridge's provider refuses."""
    found = [(batch, stuck) for batch in facts.open_batches if (stuck := _judge(batch, facts)) is not None]
    refused: dict[str, list[tuple[Batch, Stuck]]] = {}
    lines = [_left_alone(facts)]
    for batch, stuck in found:
        if stuck.cause == "refused":
            refused.setdefault(batch.bridge, []).append((batch, stuck))
        else:
            lines.append(_line(batch, stuck))
    lines += [_refused(bridge, batches) for bridge, batches in refused.items()]
    return [line for line in lines if line]


def _left_alone(facts: Facts) -> str:
    """Return a line about threads that no process drives. A file that its owner has closed was left on purpose."""
    owner, threads = facts.owner, facts.threads
    if not facts.unfinished or facts.kind == "jobs" or owner.alive is not False or owner.closed:
        return ""
    left = threads.parked + threads.running
    what = f"{left:,} of its threads have not ended" if left else "it has not ended"
    who = f"its process {owner.pid} on {owner.host} is gone" if owner.pid else "no process has it open"
    return f"{who}, and {what}: run the same command again; it continues where it stopped, and pays nothing twice"


def _judge(batch: Batch, facts: Facts) -> Stuck | None:
    return judge(
        since=batch.since or batch.submitted_at,
        bad_since=batch.bad_since,
        window_until=batch.window_until,
        longest=_longest(batch, facts.history),
        now=facts.now,
    )


def _line(batch: Batch, stuck: Stuck) -> str:
    verb = "is " if stuck.cause == "past_window" else ""
    return f"{_name(batch)} {verb}{advice(stuck)}"


def _refused(bridge: str, batches: Sequence[tuple[Batch, Stuck]]) -> str:
    """Return the line for all batches of a bridge whose provider refuses; the one that it refuses longest is named."""
    batch, stuck = max(batches, key=lambda each: each[1].seconds)
    more = f" and {len(batches) - 1:,} more" if len(batches) > 1 else ""
    return f"bridge {bridge!r}, {_name(batch)}{more}: {advice(stuck)}. It said: {batch.problem}"


def _name(batch: Batch) -> str:
    return f"batch {batch.key}" + (f" ({batch.handle})" if batch.handle is not None else "")


def _longest(batch: Batch, history: Sequence[Batch]) -> float | None:
    return longest_of(
        each.ended_at - each.submitted_at
        for each in history
        if each.kind == batch.kind and each.ended_at is not None and each.submitted_at is not None
    )


def warning_lines(facts: Facts) -> Iterator[str]:
    """Yield early warnings: results that a provider will delete."""
    for batch in facts.open_batches:
        if batch.expires_at is None or batch.submitted_at is None or (facts.owner.alive and not batch.failures):
            continue
        age, left = facts.now - batch.submitted_at, batch.expires_at - facts.now
        name = _name(batch)
        if left <= 0:
            yield (
                f"{name} was sent {span(age)} ago, and its provider may have deleted its results: run the same command "
                "now, it collects what is there"
            )
        elif is_at_risk(batch.submitted_at, batch.expires_at, facts.now):
            day = datetime.fromtimestamp(batch.expires_at, UTC).strftime("%d %B %Y, %H:%M UTC")
            yield (
                f"the results of {name}, {batch.total:,} requests, are not collected, and its provider deletes them in "
                f"{span(left)}, on {day}: run the same command before that"
            )
