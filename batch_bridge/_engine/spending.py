"""The till of an engine: what may be spent is reserved before it is sent, and what was used takes its place after."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import cast

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import JSON, Errored, Intent, Outcome, Request, SubmittedBatch
from batch_bridge._core.policy.batching import Waiting, lines
from batch_bridge._core.policy.lanes import lane_in
from batch_bridge._core.provider import Provider, has_price
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._money import (
    Account,
    AccountLine,
    Askers,
    Lane,
    Part,
    Prices,
    Purse,
    Refusal,
    Who,
    of_hit,
    receipt,
    shown,
    who_asked,
    worst,
)
from batch_bridge.events import BatchCost

logger = logger_of(__name__)

_HIT = "hit-"
"""What the keys of accounts begin with that are of a cache's answers, and not of batches."""


@dataclass(slots=True)
class Admitted:
    """What of a planned batch is sent now.

    Attributes:
        waiting: The requests that are.
        part: What they may cost together.
        worst: What each of them may cost at most, by id; empty where no budget asks.
        refused: Why others cannot be sent at all.
    """

    waiting: list[Waiting] = field(default_factory=list)
    part: Part = field(default_factory=Part)
    worst: dict[str, Decimal | None] = field(default_factory=dict)
    refused: dict[str, Outcome] = field(default_factory=dict)


class Till:
    """One bridge's money.

    Args:
        name: The bridge.
        ledger: Where the accounts are.
        prices: What tokens cost.
        purse: What may be spent, shared with other bridges.

    Attributes:
        purse: May be replaced before the engine is opened.
        refused: Outcomes of requests that were not sent, where the ledger keeps no queue: their thread asks again when
            it is continued, and there may be more to spend by then.
        askers: Whose the accounts are, where the host wants to tell what each has cost; else `None`. From before the
            engine is opened.
    """

    def __init__(self, name: str, ledger: Ledger, prices: Prices, purse: Purse) -> None:
        self._name = name
        self._ledger = ledger
        self.prices = prices
        self.purse = purse
        self.refused: dict[str, Errored] = {}
        self.askers: Askers | None = None
        self._short: int | None = None

    async def open(self, batches: Iterable[Intent | SubmittedBatch]) -> dict[str, Account]:
        """Read the accounts, and return those of open batches.

        A budget needs prices, which are imported here, in a thread.
        """
        if self.purse.budget.is_priced:
            await asyncio.to_thread(self.prices.load)
        known = self._read(await self._ledger.money())
        is_open = {batch.key for batch in batches}
        self._short = None
        counted = {
            key: (account, key in is_open)
            for key, account in known.items()
            if key in is_open or account.lane is not None or key.startswith(_HIT)
        }
        self.purse.load(self._name, counted, self.prices)
        if self.askers is not None:
            self.askers = Askers()
            for key, (account, _) in counted.items():
                if key not in is_open:
                    self.askers.add(account)
        return {key: known[key] for key in is_open if key in known}

    async def settled(self, is_open: Iterable[str]) -> Callable[[], list[Account]]:
        """Read the accounts of all that is settled, and return what parses them.

        Batches that are open are left out, and those that were never sent.
        """
        left_out = set(is_open)
        rows = await self._ledger.money()

        def parsed() -> list[Account]:
            known = self._read(rows)
            return [
                account
                for key, account in known.items()
                if key not in left_out and (account.lane is not None or key.startswith(_HIT))
            ]

        return parsed

    async def lines_in(self, key: str) -> list[AccountLine]:
        """Read what the requests of one batch have used."""
        row = await self._ledger.money_of(key)
        found = {} if row is None else self._read([(key, row)])
        return [line for account in found.values() for line in account.each()]

    def _read(self, rows: Iterable[tuple[str, dict[str, object]]]) -> dict[str, Account]:
        found: dict[str, Account] = {}
        for key, row in rows:
            try:
                found[key] = Account.from_row(row)
            except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
                logger.error(  # noqa: TRY400  # the row says nothing more
                    "%s: the account %r cannot be read (%s); was the store edited? It is left out of receipts and of "
                    "the budget",
                    self._name,
                    key,
                    type(error).__name__,
                    extra=about(bridge=self._name),
                )
        return found

    # -- how much a thread may ask for ---------------------------------------------------------------------------

    @property
    def counts_nothing(self) -> bool:
        """Whether a thread may ask for as many requests as it likes."""
        return self.purse.budget.requests_per_thread is None

    def judge_count(self, request: Waiting, label: str, queued: int) -> Errored | None:
        """Return why a thread may not ask for one more request, where `queued` of its requests wait."""
        refusal = self.purse.judge_count(request.thread, queued)
        if refusal is None:
            return None
        where = f"node {label!r}" if label else "it"
        return _errored(
            f"thread {request.thread!r} has asked for {refusal.spent:,} requests, and {where} asks for one more: the "
            f"limit is {refusal.limit:,}. If it loops, mend its exit; else raise "
            "Budget(requests_per_thread=…), and run the same command again",
            refusal,
        )

    # -- before a batch ------------------------------------------------------------------------------------------

    @property
    def is_short(self) -> bool:
        """Whether what waits would pass the budget, and waits for reservations to come back."""
        return self._short is not None and self._short == self.purse.version

    @property
    def is_waiting(self) -> bool:
        """Whether what waits was held for want of money."""
        return self._short is not None

    def relax(self) -> bool:
        """Return whether something has come back since what waits was held, and forget that it was."""
        if self._short is None or self.is_short:
            return False
        self._short = None
        return True

    def admit(
        self,
        planned: Sequence[Waiting],
        requests: Mapping[str, Request],
        provider: Provider,
        now: datetime,
        *,
        gives_up: Callable[[Waiting], bool],
        shares: bool,
    ) -> Admitted:
        """Choose what is sent of a planned batch, in order; what may fit later stays queued.

        Args:
            planned: The requests.
            requests: The same with their items.
            provider: The provider that answers.
            now: Aware UTC.
            gives_up: Whether a request waits for money no more: it is refused if it does not fit.
            shares: Equal ones are one line, which is paid for once.
        """
        admitted = Admitted()
        if not self.purse.budget.is_priced:
            admitted.waiting = list(planned)
            return admitted
        paid = set[str]()
        for each in planned:
            is_free = shares and each.key != "" and each.key in paid
            request = requests.get(each.id)
            most = Decimal(0) if is_free else self._worst(request, provider, now)
            refusal = self.purse.judge(each.thread, most, admitted.part)
            if refusal is None:
                admitted.waiting.append(each)
                admitted.worst[each.id] = most
                admitted.part.promise(each.thread, most)
                paid.add(each.key)
            elif refusal.waits and not gives_up(each):
                self._short = self.purse.version
                break
            else:
                admitted.refused[each.id] = _over(each, request, refusal, most)
        return admitted

    def _worst(self, request: Request | None, provider: Provider, now: datetime) -> Decimal | None:
        if request is None:  # its row is lost, and so it will not be sent
            return Decimal(0)
        if not has_price(provider):
            return None
        try:
            ask = provider.ask(request)
        except Exception:  # noqa: BLE001  # a provider may be the user's code; the item's own error is reported elsewhere
            return None
        assumed = self.purse.budget.output_tokens
        lanes = _LANES[mode_of(provider)]
        return worst(ask, self.prices, provider.vendor, lanes=lanes, assumed=assumed, now=now)

    def begin(
        self,
        intent: Intent,
        requests: Mapping[str, Request],
        admitted: Admitted,
        provider: Provider,
        *,
        again: Iterable[str],
    ) -> Account:
        """Reserve what a batch may cost, and return its account, which is to be written before the intent."""
        sent_before = set(again)
        asked = list(map(requests.get, intent.requests))
        account = Account(
            intent.begun_at,
            vendor_of(provider),
            who_asked(asked),
            frozenset(
                [place for place, each in enumerate(intent.requests) if each in sent_before] if sent_before else ()
            ),
            tuple(admitted.worst.get(each) for each in intent.requests) if admitted.worst else (),
            priced=frozenset([place for place, each in enumerate(asked) if each is not None and each.is_priced]),
        )
        self._know(account, intent)
        self._note_askers(account, intent.requests)
        self.purse.reserve(self._name, intent.key, account)
        return account

    def adopt(self, batch: Intent | SubmittedBatch, account: Account | None, provider: Provider) -> Account:
        """Return the account of a batch that a process before this one has begun, or an earlier version."""
        if account is None or len(account.who) != len(batch.requests):
            at = batch.begun_at if isinstance(batch, Intent) else batch.submitted_at
            account = Account(at, vendor_of(provider), (Who(),) * len(batch.requests))
            self.purse.reserve(self._name, batch.key, account)
        account.forget_used()
        self._know(account, batch)
        self._note_askers(account, batch.requests)
        return account

    def join(self, batch: SubmittedBatch, account: Account, requests: Sequence[Request], again: Iterable[str]) -> None:
        """Count requests that share lines of a batch on its way, as its last requests; they cost nothing."""
        self.purse.release(self._name, batch.key)  # it is reserved again, with them
        sent_before = set(again)
        first = len(account.who)
        account.who += tuple(map(Who.of, requests))
        account.again |= {first + place for place, each in enumerate(requests) if each.id in sent_before}
        if account.worst:
            account.worst += (Decimal(0),) * len(requests)
        self._know(account, batch)
        self.purse.reserve(self._name, batch.key, account)

    def _know(self, account: Account, batch: Intent | SubmittedBatch) -> None:
        account.know(batch.requests, lines(batch) if batch.shared else batch.requests)

    def _note_askers(self, account: Account, requests: Sequence[str]) -> None:
        if self.askers is not None:
            self.askers.add(account, requests)

    # -- after it --------------------------------------------------------------------------------------------------

    def release(self, key: str) -> None:
        """Give back what a batch has reserved that was not sent."""
        self.purse.release(self._name, key)

    def close(self, batch: Intent | SubmittedBatch, account: Account) -> dict[str, object]:
        """Return the row of a batch that has ended, to be written with its summary."""
        account.lane = lane_of(batch.handle) if isinstance(batch, SubmittedBatch) else "batch"
        return account.to_row()

    async def load_prices(self, account: Account) -> None:
        """Import the list of prices, in a thread, if one of a batch's answers must contain its cost."""
        if account.priced and account.vendor is not None:
            await asyncio.to_thread(self.prices.load)

    async def cost(self, lines: Iterable[AccountLine]) -> BatchCost:
        """Return what a batch has cost that is closed. The first price imports a list of prices, in a thread."""
        whole = await asyncio.to_thread(receipt, [(self.prices, list(lines))])
        return BatchCost(whole.paid, whole.list_price, whole.currency)

    def lines_of(self, asker: str) -> list[AccountLine]:
        """Return what was used for a thread, or for a request that none waits for, where the host wants to know."""
        return [] if self.askers is None else list(self.askers.lines(asker))

    def forget_asker(self, asker: str) -> None:
        """Forget what `lines_of` answers."""
        if self.askers is not None:
            self.askers.forget(asker)

    def settle(self, key: str, account: Account) -> None:
        """Put what a batch has used in the place of what it has reserved; its account is written."""
        self.purse.settle(self._name, key, account, self.prices)

    async def hit(
        self, requests: Iterable[Request], outcomes: Mapping[str, Outcome], provider: Provider, now: datetime
    ) -> None:
        """Write down requests that a cache has answered: they cost nothing, and are counted."""
        accounts = {f"{_HIT}{each.id}": of_hit(each, outcomes[each.id], vendor_of(provider), now) for each in requests}
        for key, account in accounts.items():
            self._note_askers(account, (key.removeprefix(_HIT),))
        await self._ledger.note_money({key: account.to_row() for key, account in accounts.items()})
        for key, account in accounts.items():
            self.purse.settle(self._name, key, account, self.prices)

    async def asked_again(self, settled: Iterable[str]) -> set[str]:
        """Return which settled requests are asked again because a budget refused them, and forget their outcomes.

        There may be more to spend by now. What was not told yet is told first.
        """
        told = [each for each in settled if self._ledger.keeps_queue and self._ledger.was_told(each)]
        outcomes = await self._ledger.outcomes(told) if told else {}
        refused = [each for each, outcome in outcomes.items() if _outcome.is_refused(outcome)]
        await self._ledger.forget(refused)
        return set(refused)

    async def refuse(self, refused: Mapping[str, Outcome]) -> None:
        """Settle requests that are not sent. Only a ledger that keeps its queue keeps that."""
        if self._ledger.keeps_queue:
            await self._ledger.settle(refused)
            return
        self.refused.update((each, why) for each, why in refused.items() if isinstance(why, Errored))
        await self._ledger.drop(refused)


def lane_of(handle: JSON) -> Lane:
    """Return how a batch was answered, by its handle."""
    return cast("Lane", lane_in(handle))


_LANES: Mapping[str, tuple[Lane, ...]] = {
    "batch": ("batch",),
    "realtime": ("realtime",),
    "auto": ("batch", "realtime"),
    "flex": ("flex",),
    "window:2h": ("window:2h",),
    "window:8h": ("window:8h",),
}


def mode_of(provider: Provider) -> str:
    """Return how a provider may answer: `batch`, `realtime`, or `auto` for either."""
    return getattr(provider, "way", "batch")


def vendor_of(provider: Provider) -> str | None:
    """Return the vendor of a provider's prices; `None` if it does not say."""
    return getattr(provider, "vendor", None)


def _over(waiting: Waiting, request: Request | None, refusal: Refusal, most: Decimal | None) -> Errored:
    node = f" (node {request.label!r})" if request is not None and request.label else ""
    whose = f"thread {waiting.thread!r}{node}" if waiting.thread else "the request"
    if refusal.what == "price":
        return _errored(
            f"no price is known for what {whose} asks ({waiting.group}), so it cannot be checked against the "
            "budget, and it was not sent; give its price: Bridge(…, prices=Prices({model: Price(input=…, output=…)}))",
            refusal,
        )
    limit = f"Budget({refusal.what}={refusal.limit.normalize():f})"
    return _errored(
        f"{whose} asks for what may cost {shown(most)}; of {limit} {shown(refusal.spent)} are spent and "
        f"{shown(refusal.reserved)} reserved, so it was not sent. Raise the budget and run the same command again; "
        "what was paid is kept",
        refusal,
    )


def _errored(message: str, refusal: Refusal) -> Errored:
    body: dict[str, JSON] = {
        "what": refusal.what,
        "spent": f"{refusal.spent:f}",
        "reserved": f"{refusal.reserved:f}",
        "limit": f"{refusal.limit:f}",
    }
    return Errored(message, code=_outcome.BUDGET, retryable=True, body=body)
