"""A quote: what a job will come to, before it is sent, or by a sample of it. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from batch_bridge._core.models import Ask
from batch_bridge._money.account import Account
from batch_bridge._money.budget import OUTPUT_TOKENS
from batch_bridge._money.estimate import Counted, likely, names_no_limit
from batch_bridge._money.prices import Lane, Prices
from batch_bridge._money.receipt import shown
from batch_bridge._money.tokens import Tokens

_DEVIATIONS: Final = 2.1
"""Standard errors to each side that make an interval of about 95 % with twenty samples (Student's t, 19 degrees)."""


@dataclass(frozen=True, slots=True)
class Range:
    """A figure that is estimated.

    Attributes:
        value: What is likely.
        low: What it will hardly be below.
        high: What it will hardly be above.
    """

    value: Decimal
    low: Decimal
    high: Decimal

    @classmethod
    def exactly(cls, value: Decimal | int) -> "Range":
        """Return a figure that is known."""
        return cls(Decimal(value), Decimal(value), Decimal(value))

    def __float__(self) -> float:
        return float(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a job will come to. What is spent on the sample is in it.

    Attributes:
        requests: Requests in all.
        waves: Batches that follow one another: how often a thread waits for an answer before it asks again.
        batches: Batches, as far as the provider's limits split them; `None` for a graph.
        input_tokens: Input tokens.
        output_tokens: Output tokens.
        usd: What it will cost, in `currency`; `None` if a price is not known.
        usd_realtime: What it would cost in realtime; `None` as above.
        seconds: How long it will take, by how long the sample's batches took; `None` if nothing was sent.
        counted: How input tokens were counted: `"tiktoken"`, `"bytes"` (four are taken for a token), or `"billed"`.
        assumed: What was assumed, for a person to read; empty where nothing was.
        sample: Threads that were run for it.
        currency: Of the amounts.
    """

    requests: Range
    waves: Range
    batches: int | None
    input_tokens: Range
    output_tokens: Range
    usd: Range | None
    usd_realtime: Range | None
    seconds: Range | None = None
    counted: str
    assumed: str = ""
    sample: int = 0
    currency: str = "USD"

    def __str__(self) -> str:
        text = (
            f"{self.requests.value:,.0f} requests, {self.input_tokens.value:,.0f} input and "
            f"{self.output_tokens.value:,.0f} output tokens: {self._told(self.usd)} in batches, "
            f"{self._told(self.usd_realtime)} in realtime"
        )
        return f"{text} ({self.assumed})" if self.assumed else text

    def _told(self, given: Range | None) -> str:
        if given is None:
            return "unknown"
        between = f" ({shown(given.low, self.currency)} to {shown(given.high, self.currency)})"
        return f"{shown(given.value, self.currency)}{between if given.low != given.high else ''}"


def of_asks(
    asks: Iterable[Ask],
    prices: Prices,
    vendor: str | None,
    *,
    batches: int | None,
    now: datetime,
    output_tokens: int | None = None,
    lane: Lane = "batch",
) -> Quote:
    """Return what requests will come to that are at hand.

    Args:
        asks: The requests.
        prices: What tokens cost.
        vendor: The vendor of these prices.
        batches: How many batches they are.
        now: Aware UTC.
        output_tokens: What one answer is likely to hold; `None`: as much as its request allows, which is the most.
        lane: In which lane they are answered.
    """
    given = made = least_made = requests = 0
    sums: dict[str, list[Decimal | None]] = {lane: [], "realtime": []}
    lows: dict[str, list[Decimal | None]] = {lane: [], "realtime": []}
    counted: Counted = "tiktoken"
    guessed = 0
    for ask in asks:
        tokens, how = likely(ask, OUTPUT_TOKENS)
        counted = "bytes" if how == "bytes" else counted
        guessed += names_no_limit(ask)
        if output_tokens is not None and ask.has_output:
            tokens = Tokens(tokens.input, output_tokens)
        requests += 1
        given, made = given + tokens.input, made + tokens.output
        for each in (lane, "realtime"):
            for held, used in ((sums, tokens), (lows, Tokens(tokens.input))):
                held[each].append(prices.charge(vendor, ask.model, used, lane=each, tier="", at=now).paid)
    fixed = output_tokens is not None
    least_made = made if fixed else 0
    assumed = "" if fixed or not made else "answers as long as their requests allow"
    if guessed and not fixed:
        assumed += f", {OUTPUT_TOKENS:,} tokens where {guessed:,} requests do not say"
    return Quote(
        requests=Range.exactly(requests),
        waves=Range.exactly(min(requests, 1)),
        batches=batches,
        input_tokens=Range.exactly(given),
        output_tokens=Range(Decimal(made), Decimal(least_made), Decimal(made)),
        usd=_range(sums[lane], sums[lane] if fixed else lows[lane]),
        usd_realtime=_range(sums["realtime"], sums["realtime"] if fixed else lows["realtime"]),
        counted=counted,
        assumed=assumed,
        currency=prices.currency,
    )


def _range(most: Sequence[Decimal | None], least: Sequence[Decimal | None]) -> Range | None:
    known, low = [each for each in most if each is not None], [each for each in least if each is not None]
    if len(known) < len(most) or len(low) < len(least):
        return None
    return Range(sum(known, Decimal(0)), sum(low, Decimal(0)), sum(known, Decimal(0)))


def choose(sizes: Sequence[int], sample: int) -> list[int]:
    """Return which inputs are a sample of all: as many small as large ones, evenly by their size. In order."""
    by_size = sorted(range(len(sizes)), key=lambda index: (sizes[index], index))
    step = len(sizes) / min(sample, len(sizes)) if sizes else 1
    return sorted(by_size[int((each + 0.5) * step)] for each in range(min(sample, len(sizes))))


def of_sample(
    threads: Sequence[str],
    total: int,
    bridges: Iterable[tuple[Prices, Iterable[Account]]],
    latencies: Sequence[float],
) -> Quote:
    """Return what all threads will come to, by what a sample of them has.

    Args:
        threads: The sample's threads.
        total: All threads.
        bridges: The accounts of each bridge, and its prices.
        latencies: Seconds that each of the sample's batches took.
    """
    figures = {thread: _Figures() for thread in threads}
    currencies = set[str]()
    for prices, accounts in bridges:
        currencies.add(prices.currency)
        for account in accounts:
            _add(figures, account, prices)
    held = list(figures.values())
    paid, listed = [each.paid for each in held], [each.list_price for each in held]
    waves = max((each.waves for each in held), default=0)
    mean = sum(latencies) / len(latencies) if latencies else 0.0
    is_one = len(currencies) <= 1
    return Quote(
        requests=_extrapolated([Decimal(each.requests) for each in held], total),
        waves=Range(Decimal(waves), Decimal(min((each.waves for each in held), default=0)), Decimal(waves)),
        batches=None,
        input_tokens=_extrapolated([Decimal(each.input) for each in held], total),
        output_tokens=_extrapolated([Decimal(each.output) for each in held], total),
        usd=_extrapolated([each for each in paid if each is not None], total) if None not in paid and is_one else None,
        usd_realtime=_extrapolated([each for each in listed if each is not None], total)
        if None not in listed and is_one
        else None,
        seconds=Range(
            Decimal(str(mean * waves)),
            Decimal(str(min(latencies) * waves)),
            Decimal(str(max(latencies) * waves)),
        )
        if latencies
        else None,
        counted="billed",
        sample=len(threads),
        currency=next(iter(currencies), "USD") if is_one else "",
    )


@dataclass(slots=True)
class _Figures:
    """What one thread has come to."""

    requests: int = 0
    waves: int = 0
    input: int = 0
    output: int = 0
    paid: Decimal | None = Decimal(0)
    list_price: Decimal | None = Decimal(0)


def _add(figures: Mapping[str, _Figures], account: Account, prices: Prices) -> None:
    for thread in {who.thread for who in account.who} & figures.keys():
        figures[thread].waves += account.lane is not None
    for thread, count in account.counts().items():
        if thread in figures:
            figures[thread].requests += count
    for line in account.each():
        known = figures.get(line.who.thread)
        if known is None:
            continue
        charge = line.charge(prices)
        known.input += line.used.tokens.input
        known.output += line.used.tokens.output
        known.paid = None if known.paid is None or charge.paid is None else known.paid + charge.paid
        listed = known.list_price
        known.list_price = None if listed is None or charge.list_price is None else listed + charge.list_price


def _extrapolated(sample: Sequence[Decimal], total: int) -> Range:
    """Return the sum over all, by a sample: what the sample has come to is known, the rest has an interval."""
    count, done = len(sample), sum(sample, Decimal(0))
    rest = total - count
    if not count or rest <= 0:
        return Range.exactly(done)
    mean = done / count
    spread = math.sqrt(float(sum((each - mean) ** 2 for each in sample)) / (count - 1)) if count > 1 else float(mean)
    error = Decimal(str(_DEVIATIONS * spread * rest * math.sqrt(1 / count + 1 / rest)))
    value = done + mean * rest
    return Range(value, max(value - error, done), value + error)
