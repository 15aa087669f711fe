"""What one batch costs, as it is written into the ledger: who asked, what is reserved, and what each request used.

The row of a batch, or of a request that no batch held because a cache knew its answer::

    at        when it was begun, seconds since the epoch
    vendor    whose prices they are; absent where that is not known
    who       [thread, run, label, tenant] of those who asked, without what is empty at the end
    of        for each request of the batch, in its order, which of `who` has asked for it
    again     places of the requests that an earlier batch held without success
    priced    places of the requests whose answers tell what was paid for them
    worst     for each request what may be spent on it at most, in steps of `STEP`; `null` where no price is known
    lane      "batch" or "realtime"; from here on written when the batch is closed
    models    [model, tier] of the answers
    lines     [place, kind, which of `models`, tokens …] of each request that was answered
    ended     places of the requests that have not succeeded, by how they ended; under "" those that were sent on

Prices are not written down: the row says what was used, once, and a receipt prices it.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

from batch_bridge._core.models import Errored, Outcome, Request, Succeeded, Usage
from batch_bridge._money.prices import STEP, Charge, Lane, Prices
from batch_bridge._money.tokens import Tokens, Used, model_of, plain_counts, read_usage, tier_of

Kind: TypeAlias = Literal["billed", "deduplicated", "cache_hit", "untold"]
_KINDS: Final[tuple[Kind, ...]] = ("billed", "deduplicated", "cache_hit", "untold")
_WELL: Final = "succeeded"
MAYBE_PAID: Final = frozenset(
    {
        "answer_too_large",
        "create_unknown",
        "realtime_interrupted",
        "response_not_found",
        "submission_unknown",
        "unexpected_answer",
        "unmatched_result",
        "unreadable_answer",
    }
)
"""Codes of requests that may have been billed, though no usage can be read of them."""


@dataclass(frozen=True, slots=True)
class Who:
    """The asker of a request.

    Attributes:
        thread: The thread; empty without a graph.
        run: The run that it belongs to, where it has one.
        label: What the user calls it; by default the node that waits.
        tenant: The user of a LangGraph server.
    """

    thread: str = ""
    run: str = ""
    label: str = ""
    tenant: str = ""

    @classmethod
    def of(cls, request: Request) -> "Who":
        """Return the asker of a request."""
        return cls(request.thread, request.run, request.label, request.tenant)


def who_asked(requests: Sequence[Request | None]) -> tuple[Who, ...]:
    """Return who has asked for each of some requests, one object for all who are the same."""
    names = [
        ("", "", "", "") if each is None else (each.thread, each.run, each.label, each.tenant) for each in requests
    ]
    known = {each: Who(*each) for each in set(names)}
    return tuple([known[each] for each in names])


@dataclass(frozen=True, slots=True)
class AccountLine:
    """What one request used.

    Attributes:
        who: Its asker.
        kind: `billed`; `deduplicated` and `cache_hit` cost nothing; `untold`: it was answered, and perhaps billed, and
            its answer reports no usage.
        used: What it used, if that is known.
        lane: How it was answered.
        vendor: The vendor that answered.
        at: When its batch was begun, aware UTC.
        worst: What may have been spent on it at most, where that was reserved.
    """

    who: Who
    kind: Kind
    used: Used
    lane: Lane
    vendor: str | None
    at: datetime
    worst: Decimal | None = None

    def charge(self, prices: Prices) -> Charge:
        """Return what it costs."""
        used = self.used
        if self.kind == "untold":
            return Charge(None, None)
        if self.kind != "billed" and used.tokens == Tokens():  # it costs nothing, and does not say what it would have
            return Charge(Decimal(0), None)
        return prices.charge(self.vendor, used.model, used.tokens, lane=self.lane, tier=used.tier, at=self.at)

    def cache_saved(self, prices: Prices) -> Decimal | None:
        """Return what it would cost more had it written what it has read from the provider's cache.

        At the price of an entry for five minutes, where writing has a price of its own; an hour's costs more. `None` if
        that is not known.
        """
        tokens = self.used.tokens
        if self.kind != "billed" or not tokens.cache_read:
            return Decimal(0)
        written = tokens._replace(cache_read=0, cache_write=tokens.cache_write + tokens.cache_read)
        paid = self.charge(prices).paid
        instead = replace(self, used=self.used._replace(tokens=written)).charge(prices).paid
        return None if paid is None or instead is None else instead - paid


@dataclass(slots=True)
class Account:
    """The account of one batch.

    Attributes:
        at: When it was begun, aware UTC.
        vendor: The vendor of these prices.
        who: The asker of each request, in their order.
        again: Places of requests that an earlier batch has held.
        worst: What may be spent on each request; empty where nothing is reserved.
        priced: Places of requests whose answers tell what was paid for them.
        lane: How it was answered; empty until it is closed.
        way: How it is answered, once that is known; not written down.
        ended: How requests have ended here, by place; one that was sent on to another batch has not.
    """

    at: datetime
    vendor: str | None
    who: tuple[Who, ...]
    again: frozenset[int] = frozenset()
    worst: tuple[Decimal | None, ...] = ()
    lane: Lane | None = None
    priced: frozenset[int] = frozenset()
    ended: dict[int, str] = field(default_factory=dict)
    way: Lane | None = None
    _places: dict[str, int] = field(default_factory=dict)
    _free: frozenset[str] = frozenset()
    _lines: dict[int, tuple[int, ...]] = field(default_factory=dict)  # by place, as in the row: ints cost little
    _models: dict[tuple[str, str], int] = field(default_factory=dict)

    def know(self, requests: Sequence[str], billed: Iterable[str]) -> None:
        """Set which requests these are, and which of them are lines that the provider bills."""
        self._places = {request_id: place for place, request_id in enumerate(requests)}
        self._free = frozenset() if billed is requests else frozenset(self._places.keys() - set(billed))

    def note(self, outcomes: Iterable[tuple[str, Outcome]], asked: str = "") -> None:
        """Note what requests' answers used. The first one of each counts; what was not answered is not noted.

        Args:
            outcomes: What the provider has reported of requests.
            asked: The model that was asked, where the answer does not name one.
        """
        places, lines, free = self._places, self._lines, self._free
        named_model: object = None
        named_tier: object = None
        number = -1
        for request_id, outcome in outcomes:
            place = places.get(request_id)
            if place is None or place in lines:
                continue
            answer: Any = outcome.answer if type(outcome) is Succeeded else None
            counts = plain_counts(answer) if type(answer) is dict and request_id not in free else None
            if counts is None or not counts[1]:
                self._note(request_id, place, outcome, asked)
                continue
            model, tier = answer.get("model"), answer.get("service_tier")
            if model != named_model or tier != named_tier or number < 0:  # mostly they are those of the answer before
                named_model, named_tier = model, tier
                number = self._models.setdefault((model_of(answer) or asked, tier_of(answer)), len(self._models))
            given, made = counts
            lines[place] = (place, 0, number, given, made)

    def _note(self, request_id: str, place: int, outcome: Outcome, asked: str) -> None:
        match outcome:
            case Succeeded(answer):
                used = read_usage(answer)
            case Errored(code=code) if code in MAYBE_PAID:
                used = None
            case _:
                return
        kind: Kind = "deduplicated" if request_id in self._free else "billed" if used is not None else "untold"
        self._add(place, kind, used or Used("", Tokens()), asked)

    def _add(self, place: int, kind: Kind, used: Used, asked: str = "") -> None:
        number = self._models.setdefault((used.model or asked, used.tier), len(self._models))
        self._lines[place] = (place, _KINDS.index(kind), number, *used.tokens.to_list())

    def forget_used(self) -> None:
        """Let go of what requests used: it is read again."""
        self._lines.clear()
        self._models.clear()

    def paid(self, request_id: str, prices: Prices) -> Decimal | None:
        """Return the cost of a request that asked for it; `None` for others, and if it is not known."""
        place = self._places.get(request_id)
        if place is None or place not in self.priced or place not in self._lines:
            return None
        return self._line(place).charge(prices).paid

    def end(self, request_id: str, kind: str) -> None:
        """Note how a request has ended. Done twice, it changes nothing."""
        if (place := self._places.get(request_id)) is not None:
            self.ended[place] = kind

    def end_well(self, request_ids: Iterable[str]) -> None:
        """Note that requests were answered. Done twice, it changes nothing."""
        well = dict.fromkeys(map(self._places.get, request_ids), _WELL)
        well.pop(None, None)  # who is no request
        self.ended.update(well)  # type: ignore[arg-type]

    def forget(self, threads: Container[str], tenants: Container[str]) -> None:
        """Take the names of threads and tenants out of it; the amounts stay."""
        self.who = tuple(Who() if each.thread in threads or each.tenant in tenants else each for each in self.who)

    def reserved(self) -> dict[str, Decimal]:
        """Return what is reserved, by thread."""
        sums: dict[str, Decimal] = {}
        for who, worst in zip(self.who, self.worst, strict=False):
            sums[who.thread] = sums.get(who.thread, Decimal(0)) + (worst or 0)
        return sums

    def counts(self) -> dict[str, int]:
        """Return how many requests are counted here, by thread; each is where it was sent first."""
        if not self.again and self._have_one_asker:
            return {self.who[0].thread: len(self.who)}
        sums: dict[str, int] = {}
        for place, who in enumerate(self.who):
            if place not in self.again:
                sums[who.thread] = sums.get(who.thread, 0) + 1
        return sums

    def each(self) -> Iterable[AccountLine]:
        """Return a line for each request that was answered."""
        for place in sorted(self._lines):
            yield self._line(place)

    def usage(self) -> Usage | None:
        """Return what its requests used together, as far as their answers say; `None` if none does."""
        billed = [line for line in self.each() if line.kind == "billed"]
        if not billed:
            return None
        tokens = [line.used.tokens for line in billed]
        return Usage(
            billed[0].used.model,
            sum(each.input for each in tokens),
            sum(each.output for each in tokens),
            sum(each.cache_read for each in tokens),
            billed[0].lane in {"realtime", "flex"},
        )

    def of(self, places: Iterable[int]) -> Iterable[AccountLine]:
        """Return a line for each of these requests that was answered."""
        return (self._line(place) for place in places if place in self._lines)

    def _line(self, place: int) -> AccountLine:
        _, number, model, *tokens = self._lines[place]
        kind, (name, tier) = _KINDS[number], next(islice(self._models, model, None))
        used = Used(name, Tokens(*tokens), tier)
        lane: Lane = kind if kind in ("cache_hit", "deduplicated") else self.lane or self.way or "batch"
        worst = self.worst[place] if place < len(self.worst) else None
        return AccountLine(self.who[place], kind, used, lane, self.vendor, self.at, worst)

    @property
    def _have_one_asker(self) -> bool:
        """Whether all requests were asked for by the same one."""
        return bool(self.who) and self.who.count(self.who[0]) == len(self.who)

    def to_row(self) -> dict[str, Any]:
        """Return it as JSON."""
        if self._have_one_asker:  # mostly they do
            who, of = {self.who[0]: 0}, [0] * len(self.who)
        else:
            objects = {id(each): each for each in self.who}  # to hash it takes longer
            who = {each: place for place, each in enumerate(dict.fromkeys(objects.values()))}
            place_of = {number: who[each] for number, each in objects.items()}
            of = [place_of[id(each)] for each in self.who]
        row: dict[str, Any] = {
            "at": self.at.timestamp(),
            "who": [_trimmed([each.thread, each.run, each.label, each.tenant]) for each in who],
            "of": of,
        }
        if self.vendor is not None:
            row["vendor"] = self.vendor
        if self.again:
            row["again"] = sorted(self.again)
        if self.priced:
            row["priced"] = sorted(self.priced)
        if self.worst:
            row["worst"] = [None if each is None else int(each / STEP) for each in self.worst]
        if self.lane is not None:
            row["lane"] = self.lane
            ends: dict[str, list[int]] = {}
            is_well = list(self.ended.values()).count(_WELL) == len(self.who)
            for place in () if is_well else range(len(self.who)):
                if (kind := self.ended.get(place, "")) != _WELL:
                    ends.setdefault(kind, []).append(place)
            row["ended"] = ends
        if self._lines:
            row["models"] = [_trimmed(list(each)) for each in self._models]
            row["lines"] = [line for line in map(self._lines.get, range(len(self.who))) if line is not None]
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Account":
        """Read one.

        Raises:
            TypeError, ValueError, KeyError, IndexError: It is not an account of ours, or it is damaged.
        """
        who = [Who(*each) for each in row["who"]]
        models = [[*each, "", ""][:2] for each in row.get("models", ())]
        read: list[tuple[int, Kind, Used]] = []
        for place, kind, model, *tokens in row.get("lines", ()):
            name, tier = models[model]
            read.append((place, _KINDS[kind], Used(name, Tokens(*tokens), tier)))
        not_well = {place: kind for kind, places in row.get("ended", {}).items() for place in places}
        recorded = range(len(row["of"])) if "ended" in row else [place for place, _, _ in read]  # earlier: only those
        account = cls(
            at=datetime.fromtimestamp(row["at"], UTC),
            vendor=row.get("vendor"),
            who=tuple(who[each] for each in row["of"]),
            again=frozenset(row.get("again", ())),
            worst=tuple(None if each is None else each * STEP for each in row.get("worst", ())),
            lane=row.get("lane"),
            priced=frozenset(row.get("priced", ())),
            ended={place: kind for place in recorded if (kind := not_well.get(place, _WELL))},
        )
        for place, kind, used in read:
            account._add(place, kind, used)
        return account


def of_hit(request: Request, outcome: Outcome, vendor: str | None, at: datetime) -> Account:
    """Return the account of a request that a cache has answered."""
    used = read_usage(outcome.answer) if isinstance(outcome, Succeeded) else None
    account = Account(at, vendor, (Who.of(request),))
    account._add(0, "cache_hit", used or Used("", Tokens()))  # noqa: SLF001  # it is made here
    return account


def _trimmed(values: list[str]) -> list[str]:
    while values and not values[-1]:
        values.pop()
    return values
