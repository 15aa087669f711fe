"""A receipt: what was paid, what it would have cost in realtime, and what was saved. Money is `Decimal`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, Final

from batch_bridge._money.account import AccountLine
from batch_bridge._money.prices import Charge, Prices

_ZERO: Final = Decimal(0)
_SMALL: Final = Decimal("0.001")


@dataclass(frozen=True, slots=True)
class CostLine:
    """What some requests cost.

    Attributes:
        paid: What is paid for them; `None` if the price of one of them is not known.
        list_price: What they would have cost in realtime, each by a call of its own; `None` as above.
        requests: How many they are.
        unknown: How many of them have no price that is known. Their tokens are counted, if they are reported.
        known: What is paid for the others.
        input_tokens: All input tokens.
        output_tokens: All output tokens; the reasoning ones are among them.
        cached_tokens: Input tokens that the provider had in its cache.
        cache_write_tokens: Input tokens that it wrote there.
        reasoning_tokens: Output tokens that no answer shows.
        cache_saved: What they would have cost more had each written what it has read from the provider's cache; `None`
            if that is not known.
    """

    paid: Decimal | None = _ZERO
    list_price: Decimal | None = _ZERO
    requests: int = 0
    unknown: int = 0
    known: Decimal = _ZERO
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cache_saved: Decimal | None = _ZERO

    @property
    def saved(self) -> Decimal | None:
        """What was saved; `None` if one of the two prices is not known."""
        return None if self.paid is None or self.list_price is None else self.list_price - self.paid


@dataclass(frozen=True, slots=True)
class Cost(CostLine):
    """A receipt. The sum of `by_model`, and that of `by_lane`, is the whole.

    Attributes:
        currency: Of all amounts, a code of three letters; empty where several were mixed, and the sum is unknown.
        by_model: By the name of the model that has answered; empty for answers that do not name one.
        by_lane: `"batch"`, `"window:8h"`, `"window:2h"`, `"flex"`, `"realtime"`, and what cost nothing:
            `"cache_hit"` and `"deduplicated"`.
    """

    currency: str = "USD"
    by_model: Mapping[str, CostLine] = field(default_factory=dict)
    by_lane: Mapping[str, CostLine] = field(default_factory=dict)

    def __str__(self) -> str:
        return told(self)


@dataclass(slots=True)
class _Sum:
    paid: Decimal = _ZERO
    list_price: Decimal = _ZERO
    requests: int = 0
    unpaid: int = 0
    unlisted: int = 0
    cache_saved: Decimal | None = _ZERO
    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0
    reasoning: int = 0

    def add(self, line: AccountLine, charge: Charge, cache_saved: Decimal | None) -> None:
        tokens, paid, list_price = line.used.tokens, charge.paid, charge.list_price
        self.requests += 1
        if paid is None:
            self.unpaid += 1
        else:
            self.paid += paid
        if list_price is None:
            self.unlisted += 1
        else:
            self.list_price += list_price
        if cache_saved is None or self.cache_saved is None:
            self.cache_saved = None
        else:
            self.cache_saved += cache_saved
        self.input += tokens.input
        self.output += tokens.output
        self.cached += tokens.cache_read
        self.written += tokens.cache_write + tokens.cache_write_1h
        self.reasoning += tokens.reasoning

    def figures(self) -> dict[str, Any]:
        return {
            "paid": None if self.unpaid else self.paid,
            "list_price": None if self.unlisted else self.list_price,
            "requests": self.requests,
            "unknown": self.unpaid,
            "known": self.paid,
            "input_tokens": self.input,
            "output_tokens": self.output,
            "cached_tokens": self.cached,
            "cache_write_tokens": self.written,
            "reasoning_tokens": self.reasoning,
            "cache_saved": self.cache_saved,
        }


def receipt(bridges: Iterable[tuple[Prices, Iterable[AccountLine]]]) -> Cost:
    """Add up what was used, with the prices of each bridge. The first price imports `genai-prices`."""
    whole, models, lanes = _Sum(), dict[str, _Sum](), dict[str, _Sum]()
    currencies = set[str]()
    for prices, lines in bridges:
        for line in lines:
            charge, cache_saved = line.charge(prices), line.cache_saved(prices)
            currencies.add(prices.currency)
            sums = (whole, models.setdefault(line.used.model, _Sum()), lanes.setdefault(line.lane, _Sum()))
            for each in sums:
                each.add(line, charge, cache_saved)
    figures = whole.figures()
    if len(currencies) > 1:
        figures |= {"paid": None, "list_price": None, "cache_saved": None, "unknown": whole.requests, "known": _ZERO}
    return Cost(
        **figures,
        currency="" if len(currencies) > 1 else next(iter(currencies), "USD"),
        by_model={name: CostLine(**each.figures()) for name, each in sorted(models.items())},
        by_lane={name: CostLine(**each.figures()) for name, each in sorted(lanes.items())},
    )


def add_up(costs: Sequence[Cost]) -> Cost:
    """Return the sum of receipts."""
    currencies = {cost.currency for cost in costs}
    whole = _added(costs)
    if len(currencies) > 1:
        whole |= {"paid": None, "list_price": None, "cache_saved": None, "unknown": whole["requests"], "known": _ZERO}
    return Cost(
        **whole,
        currency="" if len(currencies) > 1 else next(iter(currencies), "USD"),
        by_model=_merged([cost.by_model for cost in costs]),
        by_lane=_merged([cost.by_lane for cost in costs]),
    )


def _merged(lines: Sequence[Mapping[str, CostLine]]) -> dict[str, CostLine]:
    names = sorted({name for each in lines for name in each})
    return {name: CostLine(**_added([each[name] for each in lines if name in each])) for name in names}


def _added(lines: Sequence[CostLine]) -> dict[str, Any]:
    figures: dict[str, Any] = {
        name: None if None in (amounts := [getattr(line, name) for line in lines]) else sum(amounts, _ZERO)
        for name in ("paid", "list_price", "cache_saved")
    }
    for name in (each.name for each in fields(CostLine) if each.name not in figures):
        figures[name] = sum((getattr(line, name) for line in lines), _ZERO if name == "known" else 0)
    return figures


def rows(bridges: Iterable[tuple[str, Prices, Iterable[AccountLine]]]) -> list[dict[str, Any]]:
    """Return a row for each bridge, run, thread, tenant, label, model and lane: what a data frame is made of."""
    sums: dict[tuple[str, ...], _Sum] = {}
    for bridge, prices, lines in bridges:
        for line in lines:
            who = line.who
            key = (bridge, who.run, who.thread, who.tenant, who.label, line.used.model, line.lane, prices.currency)
            charge = line.charge(prices)
            sums.setdefault(key, _Sum()).add(line, charge, line.cache_saved(prices))
    return [_row(key, CostLine(**each.figures())) for key, each in sorted(sums.items())]


def _row(key: tuple[str, ...], line: CostLine) -> dict[str, Any]:
    names = ("bridge", "run", "thread", "tenant", "label", "model", "lane", "currency")
    return {
        **dict(zip(names, key, strict=True)),
        "requests": line.requests,
        "input_tokens": line.input_tokens,
        "output_tokens": line.output_tokens,
        "cached_tokens": line.cached_tokens,
        "cache_write_tokens": line.cache_write_tokens,
        "reasoning_tokens": line.reasoning_tokens,
        "paid": line.paid,
        "list_price": line.list_price,
        "saved": line.saved,
        "cache_saved": line.cache_saved,
    }


def shown(price: Decimal | None, currency: str = "USD") -> str:
    """Return an amount for a person to read; four digits behind the point, more where it is smaller than that."""
    if price is None:
        return "unknown"
    digits = 4 if not price or abs(price) >= _SMALL else 8
    text = f"{price:,.{digits}f}"
    return f"${text}" if currency == "USD" else f"{text} {currency}".strip()


def told(cost: Cost) -> str:
    """Return a receipt in one line."""
    text = f"paid {shown(cost.paid, cost.currency)}, in realtime {shown(cost.list_price, cost.currency)}"
    if cost.saved is not None:
        text += f", saved {shown(cost.saved, cost.currency)}"
    if cost.cache_saved:
        text += f"; reading the provider's cache instead of writing it saved {shown(cost.cache_saved, cost.currency)}"
    if cost.unknown:
        text += f"; {cost.unknown:,} of {cost.requests:,} requests have no price that is known"
    return text


def to_json(cost: Cost) -> dict[str, Any]:
    """Return a receipt as JSON; amounts are strings, exact, and `null` where they are unknown."""
    return {
        "currency": cost.currency,
        **_line(cost),
        "by_model": {name: _line(line) for name, line in cost.by_model.items()},
        "by_lane": {name: _line(line) for name, line in cost.by_lane.items()},
    }


def _line(line: CostLine) -> dict[str, Any]:
    return {
        "paid": _text(line.paid),
        "list_price": _text(line.list_price),
        "saved": _text(line.saved),
        "cache_saved": _text(line.cache_saved),
        "requests": line.requests,
        "unknown": line.unknown,
        "input_tokens": line.input_tokens,
        "output_tokens": line.output_tokens,
        "cached_tokens": line.cached_tokens,
        "cache_write_tokens": line.cache_write_tokens,
        "reasoning_tokens": line.reasoning_tokens,
    }


def _text(price: Decimal | None) -> str | None:
    return None if price is None else f"{price.normalize():f}"
