"""How much a provider takes at a time: enqueued tokens of a model, batches in flight, creations in an hour. No I/O.

A request counts for its bytes, by what a token weighs: counted for the first ones where there is a tokenizer, and
seen in what was billed for the last batches. That errs on the dear side: a batch that is refused costs its turn, and
a part of the quota that is not used costs less.
"""

import math
import re
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from batch_bridge._core.models import Limits, Usage
from batch_bridge._core.policy.batching import Waiting

BYTES_PER_TOKEN: Final = 4.0
"""Bytes of a line that count as one token until it was counted, or billed, what one weighs.

Source: OpenAI help center, "What are tokens and how to count them?": about 4 characters of English,
https://help.openai.com/en/articles/4936856.
"""
STRIKES: Final = 14
"""Refusals of one group in a row, with growing pauses, after which those that are refused end with that error."""
_CAUTION: Final = 0.95
"""The share of a weight that was seen which is counted on."""
_RECENT: Final = 8
"""Batches whose usage is remembered."""
_SAMPLE: Final = 16_384
"""Bytes of a group's requests that are counted to learn what a token weighs."""
_HOUR: Final = timedelta(hours=1)
_GROWTH: Final = 1.1
"""What a guessed limit grows by with every batch that was taken."""
_LIMIT: Final = re.compile(r"([\d][\d,_]*) (?:enqueued )?tokens", re.IGNORECASE)
"""The limit in the words of a refusal: `Limit: 90,000 enqueued tokens`."""


@dataclass(slots=True)
class _Known:
    """What was learned of one group.

    Attributes:
        limit: Its limit of enqueued tokens, if one is known.
        guessed: It was not told, but follows from what was refused.
        ratios: Bytes of each token that was billed, of the last batches.
        sampled: Bytes and tokens of requests that were counted before the first batch has ended.
        margin: What is made of these after a refusal that they do not explain.
        strikes: Refusals since a batch was taken.
        struck_at: When the last of them was.
        held_until: Nothing is sent before that.
        pause: How long the next hold is.
    """

    limit: float | None = None
    guessed: bool = False
    ratios: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    sampled: tuple[int, int] = (0, 0)
    margin: float = 1.0
    strikes: int = 0
    struck_at: datetime | None = None
    held_until: datetime | None = None
    pause: timedelta = timedelta(0)

    @property
    def bytes_per_token(self) -> float:
        """What a token weighs, erring on the light side."""
        if self.ratios:
            return min(self.ratios) * _CAUTION * self.margin
        size, tokens = self.sampled
        return (size / tokens * _CAUTION if tokens else BYTES_PER_TOKEN) * self.margin


class QuotaController:
    """Keeps one bridge's batches to a provider's quotas, and learns them.

    Args:
        pause: How long a group is left alone after a refusal that its size does not explain; doubled each time.
        longest: The longest such pause.
        quota_of: Returns what the provider counts a group under: several groups may share one quota.
    """

    def __init__(
        self, pause: timedelta, longest: timedelta, quota_of: Callable[[str], str] = lambda group: group
    ) -> None:
        self.quota_of = quota_of
        self._pause = pause
        self._longest = longest
        self._groups: dict[str, _Known] = {}
        self._created: deque[datetime] = deque()

    # -- input ---------------------------------------------------------------------------------------------------

    def opened(self) -> None:
        """Forget what was created: the ledger will load it again."""
        self._created.clear()

    def created(self, at: datetime) -> None:
        """Note that a batch was created."""
        self._created.append(at)

    def refused(self, group: str, size: int, others: int, *, said: str, limits: Limits, now: datetime) -> None:
        """Note that a batch was refused because too many tokens were queued.

        Args:
            group: The batch's.
            size: Its bytes.
            others: Bytes of the group's batches that were at the provider beside it.
            said: What the provider said.
            limits: What the provider's settings say.
            now: Aware UTC.
        """
        known = self._group(group)
        known.strikes, known.struck_at = self._strikes(group, now) + 1, now
        tokens = (size + others) / known.bytes_per_token
        before = self._limit(group, limits)
        told = _told(said)
        if told is not None:
            known.limit, known.guessed = told, False
        elif before is None or tokens <= before:
            known.limit, known.guessed = max(tokens / 2, 1.0), True
        after = self._limit(group, limits)
        if told is not None and after is not None and tokens <= after:
            known.margin *= 0.8  # it would have fitted if our count were right, and no other client had sent any
        elif told is not None:
            return  # the next one is smaller
        known.pause = min(max(known.pause * 2, self._pause), self._longest)
        known.held_until = now + known.pause

    def ended(self, group: str, size: int, usage: Usage | None, *, whole: bool) -> None:
        """Note that a batch was taken and has ended: there is room again.

        Args:
            group: The batch's.
            size: Its bytes.
            usage: What was billed for it, where that is known.
            whole: All of its requests were answered, each by a line of its own: its tokens are those of its bytes.
        """
        known = self._groups.get(self.quota_of(group))
        if known is not None:
            known.strikes, known.pause, known.held_until = 0, timedelta(0), None
            known.margin = min(known.margin * _GROWTH, 1.0)
            if known.guessed and known.limit is not None:
                known.limit *= _GROWTH
        if whole and usage is not None and usage.input_tokens > 0 and size > 0:
            self._group(group).ratios.append(max(size / usage.input_tokens, 0.1))

    def sampled(self, group: str, size: int, tokens: int) -> None:
        """Note how many tokens a request has that was counted."""
        known = self._group(group)
        known.sampled = known.sampled[0] + size, known.sampled[1] + tokens

    # -- output --------------------------------------------------------------------------------------------------

    def wants_sample(self, group: str, limits: Limits) -> bool:
        """Return whether it would help to know how many tokens a request of a group has."""
        known = self._groups.get(self.quota_of(group))
        if known is None:
            return limits.enqueued_tokens is not None
        return not known.ratios and known.sampled[0] < _SAMPLE and self._limit(group, limits) is not None

    def requeues(self, group: str, now: datetime) -> bool:
        """Return whether requests that were refused for lack of room are sent again; not after many refusals."""
        return self._strikes(group, now) < STRIKES

    def may_fit(self, group: str, size: int, said: str) -> bool:
        """Return whether a request may find room that was refused though nothing else of its group was there.

        Args:
            group: Its group.
            size: Its bytes.
            said: What the provider said, which may name the limit.
        """
        told = _told(said)
        return told is None or size / self._weight(group) <= told

    def admission(
        self,
        limits: Limits,
        batch: Limits,
        heads: Mapping[str, Waiting],
        *,
        flights: Iterable[tuple[str, int]],
        owed: AbstractSet[str],
        now: datetime,
    ) -> "Admission | None":
        """Return the check of which requests may go now; `None` without a limit.

        Args:
            limits: What the provider's settings say.
            batch: What one batch may hold.
            heads: The oldest request of each group that waits.
            flights: Group and bytes of each batch at the provider.
            owed: Groups of which something is due, and was turned away.
            now: Aware UTC.
        """
        allowed = {group: self._limit(group, limits) for group in heads}
        shut = {group for group in heads if self._is_held(group, now)}
        slots = self._slots(limits, flights := list(flights), now)
        if slots is None and not shut and all(limit is None for limit in allowed.values()):
            return None
        load: Counter[str] = Counter()
        for group, size in flights:
            load[self.quota_of(group)] += size
        weights = {group: self._weight(group) for group in heads}
        quotas = {group: self.quota_of(group) for group in heads}
        left = {
            quotas[group]: limit - load[quotas[group]] / weights[group]
            for group, limit in allowed.items()
            if limit is not None
        }
        batches = Counter(group for group, _ in flights)
        busy = set(map(self.quota_of, batches))
        admission = Admission(batch, weights, left, slots, set(quotas.values()) - busy, shut, quotas)
        shut |= {group for group, head in heads.items() if not admission.has_room(head)}
        if slots is not None:  # those that are owed one and have fewer at work come first
            first = sorted(batches[other] for other in owed if other in heads and other not in shut)
            shut |= {group for group in heads if slots <= bisect_left(first, batches[group])}
        return admission

    def wake_at(self, limits: Limits, groups: Iterable[str], now: datetime) -> datetime | None:
        """Return when there may be room though no batch has ended; `None` if only a batch's end makes some."""
        times = [
            known.held_until
            for group in groups
            if (known := self._groups.get(self.quota_of(group))) and known.held_until and self._is_held(group, now)
        ]
        if limits.creations_per_hour is not None and len(self._created) >= limits.creations_per_hour:
            times.append(self._created[-limits.creations_per_hour] + _HOUR)
        return min((time for time in times if time > now), default=None)

    # -- inside --------------------------------------------------------------------------------------------------

    def _group(self, group: str) -> _Known:
        return self._groups.setdefault(self.quota_of(group), _Known())

    def _weight(self, group: str) -> float:
        known = self._groups.get(self.quota_of(group))
        return BYTES_PER_TOKEN if known is None else known.bytes_per_token

    def _limit(self, group: str, limits: Limits) -> float | None:
        known = self._groups.get(self.quota_of(group))
        told = (limits.enqueued_tokens, None if known is None else known.limit)
        return min((float(each) for each in told if each is not None), default=None)

    def _strikes(self, group: str, now: datetime) -> int:
        """Return how often a group was refused in a row; what was on another day does not count."""
        known = self._groups.get(self.quota_of(group))
        if known is None or known.struck_at is None:
            return 0
        return known.strikes if known.struck_at <= now <= known.struck_at + 2 * self._longest else 0

    def _is_held(self, group: str, now: datetime) -> bool:
        known = self._groups.get(self.quota_of(group))
        until = None if known is None else known.held_until
        return until is not None and now < until <= now + self._longest  # a clock that was set back holds nothing

    def _slots(self, limits: Limits, flights: list[tuple[str, int]], now: datetime) -> int | None:
        while self._created and not now - _HOUR < self._created[0] <= now:
            self._created.popleft()
        slots = []
        if limits.batches is not None:
            slots.append(limits.batches - len(flights))
        if limits.creations_per_hour is not None:
            slots.append(limits.creations_per_hour - len(self._created))
        return max(min(slots), 0) if slots else None


def _told(said: str) -> float | None:
    """Return the limit that a provider's words name."""
    told = _LIMIT.search(said)
    return None if told is None else float(re.sub(r"\D", "", told[1]))


class Admission:
    """Checks which requests may go at one moment. Called for each request in order; counts what it has admitted.

    Attributes:
        shut: Groups of which nothing may go.
        turned_away: Groups of which something was refused.
    """

    def __init__(  # noqa: PLR0917
        self,
        batch: Limits,
        weights: Mapping[str, float],
        left: dict[str, float],
        slots: int | None,
        idle: set[str],
        shut: set[str],
        quotas: Mapping[str, str],
    ) -> None:
        self._quotas = quotas
        self.shut = shut
        self.turned_away: set[str] = set()
        self._batch = batch
        self._weights = weights
        self._left = left
        self._slots = slots
        self._idle = idle
        self._open: dict[tuple[str, object], tuple[int, int]] = {}

    def has_room(self, waiting: Waiting) -> bool:
        """Return whether there are tokens left for a request; one that is larger than the limit goes alone."""
        quota = self._quotas[waiting.group]
        return self._tokens(waiting) <= self._left.get(quota, math.inf) or quota in self._idle

    def __call__(self, waiting: Waiting) -> bool:
        """Let a request through, or not."""
        group = waiting.group
        if group in self.shut or not self.has_room(waiting) or not self._finds_place(waiting):
            self.turned_away.add(group)
            return False
        quota = self._quotas[group]
        self._idle.discard(quota)
        if quota in self._left:
            self._left[quota] -= self._tokens(waiting)
        return True

    def _finds_place(self, waiting: Waiting) -> bool:
        """Put a request into the group's batch, or a new one if there is a slot."""
        kind = waiting.group, waiting.kind  # what one batch holds
        count, size = self._open.get(kind, (0, 0))
        most, limit = self._batch.requests, self._batch.bytes
        is_full = (most is not None and count >= most) or (limit is not None and size + waiting.bytes > limit)
        if not count or is_full:
            if self._slots == 0:
                return False
            if self._slots is not None:
                self._slots -= 1
            count = size = 0
        self._open[kind] = (count + 1, size + waiting.bytes)
        return True

    def _tokens(self, waiting: Waiting) -> float:
        return waiting.bytes / self._weights[waiting.group]
