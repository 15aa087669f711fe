"""When it will be done, by how long batches took that have ended. Pure: the same facts give the same answer.

The time of a batch is drawn from those of its group, newer ones more often. From n of them one in n + 1 is drawn
beyond the slowest: as often as a next one is slower than all that were seen. A batch that is under way takes longer
than it has taken already. A wave ends with its last batch; the waves that are left come one after the other.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Final

from batch_bridge._status.models import Batch, Facts
from batch_bridge.events import Eta, Span

HALF_LIFE: Final = 20
"""Batches after which an older one counts half."""
_MOST: Final = 200
"""Batches of a group that are drawn from, the newest: an older one would count a thousandth."""
_DRAWS: Final = 400
_MOST_DRAWN: Final = 40_000
"""Times that are drawn in all."""
_TAIL: Final = 1.5
"""How fast times beyond the slowest become rare: the exponent of a Pareto distribution."""
_MOST_WAVES: Final = 50


@dataclass(frozen=True, slots=True)
class _Times:
    """How long batches of one group took.

    Args:
        seconds: In order.
        shares: Up to which share of all each of them reaches; the rest is beyond the slowest.
    """

    seconds: tuple[float, ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, batches: Sequence[Batch]) -> "_Times":
        newest = sorted(batches, key=lambda each: -(each.ended_at or 0.0))[:_MOST]
        weighted = sorted(
            ((each.ended_at or 0.0) - (each.submitted_at or 0.0), 0.5 ** (place / HALF_LIFE))
            for place, each in enumerate(newest)
        )
        total = sum(weight for _, weight in weighted)
        inside = len(weighted) / (len(weighted) + 1)
        shares = accumulate(weight / total * inside for _, weight in weighted)
        return cls(tuple(seconds for seconds, _ in weighted), tuple(shares))

    def draw(self, random: Random, longer_than: float = 0.0, of: int = 1) -> float:
        """Return a time that a batch may take, or the longest of several that begin together."""
        passed = bisect_right(self.seconds, longer_than)
        below = self.shares[passed - 1] if passed else 0.0
        at = below + (1.0 - below) * float(random.random() ** (1.0 / of))
        place = bisect_left(self.shares, at)
        if place < len(self.seconds):
            return self.seconds[place]
        rest = (1.0 - at) / (1.0 - max(below, self.shares[-1]))
        return max(self.seconds[-1], longer_than) * float(max(rest, 1e-6) ** (-1.0 / _TAIL))


def eta_of(facts: Facts) -> Eta | None:
    """Return when it will be done; `None`: there is no history yet."""
    sent = [each for each in facts.open_batches if each.state in ("in_flight", "submitting")]
    by_group: dict[tuple[str, str], list[Batch]] = {}
    for batch in facts.history:
        by_group.setdefault(batch.kind, []).append(batch)
    groups = {batch.kind for batch in sent} or set(by_group)
    if not by_group or not groups <= by_group.keys():
        return None
    times = {group: _Times.of(by_group[group]) for group in groups}
    count = len(sent) or 1
    draws = max(min(_DRAWS, _MOST_DRAWN // count), 50)
    random = Random(0)  # noqa: S311  # the same facts give the same answer
    now = [
        max(_left(times[each.kind], each, facts.now, random) for each in sent) if sent else 0.0 for _ in range(draws)
    ]
    waves = _waves_left(facts)
    run = None
    if waves is not None:
        slowest = max(times.values(), key=lambda each: each.seconds[len(each.seconds) // 2])
        run = _span([first + sum(slowest.draw(random, of=count) for _ in range(waves)) for first in now], facts.now)
    return Eta(_span(now, facts.now) if sent else None, run, waves, sum(len(by_group[each]) for each in groups))


def _left(times: _Times, batch: Batch, now: float, random: Random) -> float:
    age = max(now - batch.submitted_at, 0.0) if batch.submitted_at is not None else 0.0
    return times.draw(random, age) - age


def _waves_left(facts: Facts) -> int | None:
    """Return how many waves come after this one: as many as the longest thread had that has ended."""
    threads = facts.threads
    if facts.kind in ("batcher", "jobs"):
        return 1 if facts.queued else 0
    if facts.rounds is None or threads.total is None or threads.done is None:
        return None
    has_begun = threads.done + threads.failed + threads.running + threads.parked
    first = 0 if has_begun < threads.total else min((wave.step for wave in facts.waves), default=0)
    return min(max(facts.rounds - first, 0), _MOST_WAVES)


def _span(seconds: list[float], now: float) -> Span:
    ordered = sorted(seconds)
    return Span(now + ordered[int(len(ordered) * 0.5)], now + ordered[min(int(len(ordered) * 0.9), len(ordered) - 1)])
