"""What tokens cost: `genai-prices`, the table of discounts, or the user's own prices. Money is `Decimal`.

A price that is not known is `None`, and never zero: a model that `genai-prices` does not list, one that it lists
without a price for what was used, a provider without a name. A price of zero is one that a table states.
"""

import threading
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from batch_bridge._money.discounts import Discount, discount_of
from batch_bridge._money.tokens import Tokens

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

Lane: TypeAlias = Literal["batch", "window:8h", "window:2h", "flex", "realtime", "cache_hit", "deduplicated"]

STEP: Final = Decimal("1e-12")
"""The smallest amount that is counted. Each request is rounded to it once, so sums agree however they are taken."""
_MILLION: Final = Decimal(1_000_000)
_USD: Final = "USD"
_LOADING = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The price of a model, in the currency of its `Prices`, for a million tokens each.

    Attributes:
        input: Of input tokens.
        output: Of output tokens, reasoning included.
        cached: Of input tokens that the provider had in its cache; `None`: as `input`.
        cache_write: Of input tokens that it wrote there; `None`: as `input`.
        batch: What a batch costs of that, such as `Decimal("0.5")`; `None`: what is known of the provider.

    Raises:
        TypeError: A price is no number; a float that is not exact is fine, and read as it is written.
        ValueError: A price is negative, or not finite.
    """

    input: Decimal | float | str
    output: Decimal | float | str
    cached: Decimal | float | str | None = None
    cache_write: Decimal | float | str | None = None
    batch: Decimal | float | str | None = None

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached", "cache_write", "batch"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, amount(given, f"Price({name}=…)"))


@dataclass(frozen=True, slots=True)
class Charge:
    """What one request costs.

    Attributes:
        paid: What is paid for it; `None` if that is not known.
        list_price: What it would cost in realtime, at the standard tier; `None` if that is not known.
    """

    paid: Decimal | None
    list_price: Decimal | None


class Prices:
    """The prices that a bridge's receipt and budget are made with.

    ::

        Bridge(…, prices=Prices({"my-model": Price(input="0.20", output="0.80")}))

    What `models` does not name is looked up in `genai-prices`, as it was installed: nothing is fetched.

    Args:
        models: Prices by the model's name, as requests and answers have it. A name that is asked for and one that is
            answered are both looked up.
        vendor: The vendor of these prices, as `genai-prices` names the provider: for a pair of functions, and where a
            server only speaks another vendor's API. `None`: the provider's own.
        batch: What a batch costs of the standard price, where neither the model's own price nor `genai-prices` says.
            `None`: what is known of the vendor.
        currency: Of the prices in `models`. With another one than US dollars `genai-prices` is not asked: its prices
            are in dollars, and the two are never added up.

    Raises:
        TypeError: An argument is of another type.
        ValueError: A factor is negative, or the currency is no code of three letters.
    """

    def __init__(
        self,
        models: Mapping[str, Price] | None = None,
        *,
        vendor: str | None = None,
        batch: Decimal | float | str | None = None,
        currency: str = _USD,
    ) -> None:
        models = dict(models or {})
        for name, price in models.items():
            if not isinstance(name, str) or not isinstance(price, Price):
                raise TypeError(f"Prices({{{name!r}: {price!r}}}): give the model's name and Price(input=…, output=…)")
        if not isinstance(currency, str) or len(currency) != 3 or not currency.isalpha():  # noqa: PLR2004
            raise ValueError(f'Prices(currency={currency!r}) is no code of three letters, such as "USD"')
        self._models: Mapping[str, Price] = MappingProxyType(models)
        self._vendor = vendor
        self._batch = None if batch is None else amount(batch, "Prices(batch=…)")
        self.currency = currency.upper()
        self._charges = lru_cache(maxsize=4096)(self._charge)

    def __repr__(self) -> str:
        return f"Prices({sorted(self._models)}, vendor={self._vendor!r}, currency={self.currency!r})"

    @staticmethod
    def load() -> None:
        """Import `genai-prices`, which takes a second; idempotent, from any thread. Else the first price does it."""
        with _LOADING:
            import genai_prices.data  # noqa: F401, PLC0415  # slow, and only needed to price something

    def charge(self, vendor: str | None, model: str, tokens: Tokens, *, lane: Lane, tier: str, at: datetime) -> Charge:
        """Return what a request costs.

        Args:
            vendor: The vendor that answered, as `genai-prices` names the provider; `None` if that is not known.
            model: The model that has answered.
            tokens: What was used.
            lane: How it was answered. A cache hit and a deduplicated line cost nothing.
            tier: The service tier of a realtime call; empty for the standard one.
            at: When it was sent, aware UTC: prices change.
        """
        day = at.replace(hour=12, minute=0, second=0, microsecond=0)  # one entry a day
        return self._charges(self._vendor or vendor, model, tokens, lane, tier, day)

    def _charge(self, vendor: str | None, model: str, tokens: Tokens, lane: Lane, tier: str, at: datetime) -> Charge:  # noqa: PLR0917
        own = self._models.get(model)
        standard: Decimal | None
        if own is not None:
            is_batch = lane == "batch"
            factor = own.batch if is_batch and own.batch is not None else self._factor(vendor, lane)
            standard = _own_price(own, tokens)
            reduced = None if factor is None else standard * amount(factor, "batch")
        elif self.currency == _USD:
            standard_price, batch_price, tier_price = _listed(vendor, model, "flex" if lane == "flex" else tier, at)
            standard = _priced(standard_price, tokens)
            reduced_price = {"batch": batch_price, "flex": tier_price}.get(lane)
            reduced = _priced(reduced_price, tokens)
            if reduced_price is None and standard_price is not None:
                reduced = self._discounted(vendor, lane, standard_price, tokens)
            if lane == "realtime" and tier:
                return Charge(_rounded(_priced(tier_price, tokens)), _rounded(standard))
        else:
            return Charge(None, None)
        match lane:
            case "batch" | "flex" | "window:2h" | "window:8h":
                paid = reduced
            case "realtime":
                paid = standard
            case "cache_hit" | "deduplicated":
                paid = Decimal(0)
        return Charge(_rounded(paid), _rounded(standard))

    def _factor(self, vendor: str | None, lane: Lane) -> Decimal | None:
        if lane == "batch" and self._batch is not None:
            return self._batch
        known = discount_of(lane, vendor)
        return None if known is None else known.factor

    def _discounted(self, vendor: str | None, lane: Lane, standard: "ModelPrice", tokens: Tokens) -> Decimal | None:
        known = discount_of(lane, vendor)
        if lane == "batch" and self._batch is not None:
            known = Discount(self._batch, cached=True, source="Prices(batch=…)")
        return None if known is None else _priced(_scaled(standard, known), tokens)


def amount(given: object, what: str) -> Decimal:
    """Return a number that the user has given as an exact amount; a float as it is written.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative, or not finite.
    """
    if isinstance(given, bool) or not isinstance(given, Decimal | int | float | str):
        raise TypeError(f"{what}: {given!r} is no number")
    try:
        read = Decimal(str(given))
    except ArithmeticError:
        raise TypeError(f"{what}: {given!r} is no number") from None
    if not read.is_finite() or read < 0:
        raise ValueError(f"{what}: {given!r}: give a number from 0")
    return read


def _rounded(price: Decimal | None) -> Decimal | None:
    return None if price is None else price.quantize(STEP)


def _own_price(price: Price, tokens: Tokens) -> Decimal:
    given, made = amount(price.input, "input"), amount(price.output, "output")
    cached = given if price.cached is None else amount(price.cached, "cached")
    written = given if price.cache_write is None else amount(price.cache_write, "cache_write")
    writes = tokens.cache_write + tokens.cache_write_1h
    plain = max(tokens.input - tokens.cache_read - writes, 0)
    return (plain * given + tokens.cache_read * cached + writes * written + tokens.output * made) / _MILLION


# -- genai-prices ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _listed(
    vendor: str | None, model: str, tier: str, at: datetime
) -> "tuple[ModelPrice | None, ModelPrice | None, ModelPrice | None]":
    """Return a model's price in realtime, in a batch and at a service tier; `None` where the list has none."""
    found = _find(vendor, model)
    if found is None:
        return None, None, None
    provider, info = found
    is_own = any(info is each for each in provider.models)
    standard = info.get_prices(at)
    return (
        standard,
        _variant(info, {"processing": "batch"}, at) if is_own else None,
        _variant(info, {"service_tier": tier}, at) if is_own and tier else None,
    )


def _find(vendor: str | None, model: str) -> "tuple[Provider, ModelInfo] | None":
    if not vendor or not model:
        return None
    Prices.load()
    from genai_prices.data_snapshot import DataSnapshot  # noqa: PLC0415

    try:
        found: tuple[Provider, ModelInfo] = _snapshot(DataSnapshot).find_provider_model(model, None, vendor, None)
    except LookupError:
        return None
    return found


@lru_cache(maxsize=1)
def _snapshot(kind: Any) -> Any:
    """Return the prices as they were installed, whatever another part of the program has updated."""
    from genai_prices.data import providers  # noqa: PLC0415

    return kind(providers=providers, from_auto_update=False)


def _variant(info: "ModelInfo", when: dict[str, str], at: datetime) -> "ModelPrice | None":
    """Return a model's prices in a context, where the list has any for it."""
    for variant in info.price_variants or ():
        is_active = variant.constraint is None or variant.constraint.active(at)
        if variant.when == when and is_active:
            return info.get_prices(at, when)
    return None


def _scaled(price: "ModelPrice", discount: Discount) -> "ModelPrice":
    """Return prices with a discount on tokens; searches and what else is counted keep theirs."""
    from genai_prices.types import Tier, TieredPrices  # noqa: PLC0415

    def times(given: "Decimal | TieredPrices") -> "Decimal | TieredPrices":
        if isinstance(given, TieredPrices):
            tiers = [Tier(each.start, each.price * discount.factor) for each in given.tiers]
            return TieredPrices(given.base * discount.factor, tiers)
        return given * discount.factor

    scaled = copy(price)
    for key, value in price.__dict__.items():
        if value is not None and key.endswith("_mtok") and (discount.cached or not key.startswith("cache_")):
            scaled.__dict__[key] = times(value)
    return scaled


def _priced(price: "ModelPrice | None", tokens: Tokens) -> Decimal | None:
    """Return what tokens cost; `None` where there is no price for some of them."""
    if price is None or not _covers(price, tokens):
        return None
    from genai_prices import Usage  # noqa: PLC0415

    tokens = _fitting(price, tokens)
    if (plain := _plainly(price, tokens)) is not None:
        return plain
    counts = {
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "cache_read_tokens": tokens.cache_read,
        "cache_write_tokens": tokens.cache_write + tokens.cache_write_1h,
        "cache_write_1h_tokens": tokens.cache_write_1h,
        "input_audio_tokens": tokens.input_audio,
        "output_audio_tokens": tokens.output_audio,
        "web_searches": tokens.web_searches,
    }
    used = Usage(**{name: count for name, count in counts.items() if count}, cache_audio_read_tokens=0)
    try:
        return price.calc_price(used)["total_price"]
    except ValueError:  # the counts contradict each other, or the model is priced by a count that is missing
        return None


_PLAIN: Final = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok", "output_mtok")
_APART: Final = (
    "input_audio_mtok",
    "output_audio_mtok",
    "cache_audio_read_mtok",
    "web_searches_kcount",
    "storage_searches_kcount",
)
"""Prices of what is counted apart, and costs nothing where it is absent."""
_KNOWN: Final = frozenset((*_PLAIN, *_APART))


def _plainly(price: "ModelPrice", tokens: Tokens) -> Decimal | None:
    """Return what tokens cost by a price for each kind alone, as `calc_price` does, in a fiftieth of its time.

    `None` where there is more to it: tiers, sound, searches, a kind of price that is not known here.
    """
    prices = {key: value for key, value in price.__dict__.items() if value is not None}
    if not prices.keys() <= _KNOWN or tokens.input_audio or tokens.output_audio or tokens.web_searches:
        return None
    given, read, written, hour, made = (prices.get(key, 0) for key in _PLAIN)
    if not all(isinstance(each, Decimal | int) for each in (given, read, written, hour, made)):
        return None
    plain = tokens.input - tokens.cache_read - tokens.cache_write - tokens.cache_write_1h
    sums = (
        (plain, given),
        (tokens.cache_read, read),
        (tokens.cache_write, written),
        (tokens.cache_write_1h, hour),
        (tokens.output, made),
    )
    return sum((count * each for count, each in sums), Decimal(0)) / _MILLION


def _covers(price: "ModelPrice", tokens: Tokens) -> bool:
    """Whether a model has a price for what was used; what is cached and has none of its own costs what input costs."""
    wanted = {"input_mtok": tokens.input, "output_mtok": tokens.output, "web_searches_kcount": tokens.web_searches}
    return all(not count or price.__dict__.get(key) is not None for key, count in wanted.items())


def _fitting(price: "ModelPrice", tokens: Tokens) -> Tokens:
    """Return tokens split as the model's prices are, corrected to add up: some servers miscount."""
    has = price.__dict__.get
    hour = tokens.cache_write_1h if has("cache_write_1h_mtok") is not None else 0
    read = min(tokens.cache_read, tokens.input)
    written = min(tokens.cache_write + tokens.cache_write_1h, tokens.input - read)
    return tokens._replace(
        cache_read=read if has("cache_read_mtok") is not None else 0,
        cache_write=max(written - hour, 0) if has("cache_write_mtok") is not None else 0,
        cache_write_1h=min(hour, written) if has("cache_write_mtok") is not None else 0,
        input_audio=min(tokens.input_audio, tokens.input - read) if has("input_audio_mtok") is not None else 0,
        output_audio=min(tokens.output_audio, tokens.output) if has("output_audio_mtok") is not None else 0,
    )
