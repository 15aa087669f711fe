"""A purse: what all bridges of a budget have spent and reserved. The truth is in the ledgers' accounts."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal, TypeAlias

from batch_bridge._money.account import Account
from batch_bridge._money.budget import Budget
from batch_bridge._money.prices import Prices

What: TypeAlias = Literal["usd", "usd_per_thread", "requests_per_thread", "price"]
_ZERO: Final = Decimal(0)
_MOST_ENDED: Final = 10_000
"""Threads that have ended and are remembered all the same: one may continue."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not sent.

    Attributes:
        what: Which limit it would pass; `"price"`: no price is known, so it cannot be checked.
        spent: What is spent of that; for `requests_per_thread` the requests that the thread has asked for.
        reserved: What is reserved of that.
        limit: The limit.
        waits: Reservations may come back, after which it may fit.
    """

    what: What
    spent: Decimal
    reserved: Decimal
    limit: Decimal
    waits: bool = False


@dataclass(slots=True)
class _Own:
    """What one thread has."""

    requests: int = 0
    spent: Decimal = _ZERO
    reserved: Decimal = _ZERO


@dataclass(slots=True)
class Part:
    """What one bridge has of a purse, or what a batch is about to take."""

    spent: Decimal = _ZERO
    reserved: Decimal = _ZERO
    threads: dict[str, _Own] = field(default_factory=dict)
    held: dict[str, Account] = field(default_factory=dict)

    def of(self, thread: str) -> _Own:
        """Return what a thread has of it."""
        own = self.threads.get(thread)
        if own is None:
            own = self.threads[thread] = _Own()
        return own

    def promise(self, thread: str, worst: Decimal | None) -> None:
        """Count what a request may cost at most."""
        if worst:
            self.reserved += worst
            self.of(thread).reserved += worst

    def count(self, account: Account, sign: int = 1) -> None:
        """Count an account's requests."""
        for thread, count in account.counts().items():
            self.of(thread).requests += sign * count

    def spend(self, account: Account, prices: Prices) -> None:
        """Count what an account has used. What has no price that is known counts as the most that it may have cost."""
        for line in account.each():
            paid = line.charge(prices).paid
            cost = paid if paid is not None else line.worst or _ZERO
            self.spent += cost
            self.of(line.who.thread).spent += cost


class Purse:
    """What several bridges may spend together. In one event loop; a look and the reservation after it are one step.

    Args:
        budget: The limit.

    Attributes:
        version: Changes whenever something comes back.
        on_change: Called then, by who waits for it.
    """

    def __init__(self, budget: Budget | None = None, *, most_ended: int = _MOST_ENDED) -> None:
        self._most_ended = most_ended
        self.budget = budget or Budget()
        self.version = 0
        self.on_change: list[Callable[[], None]] = []
        self._parts: dict[str, Part] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()

    def part(self, bridge: str) -> Part:
        """Return what a bridge has of it."""
        return self._parts.setdefault(bridge, Part())

    @property
    def spent(self) -> Decimal:
        """What is spent in all, where the budget needs to know."""
        return sum((part.spent for part in self._parts.values()), _ZERO)

    @property
    def reserved(self) -> Decimal:
        """What is reserved in all."""
        return sum((part.reserved for part in self._parts.values()), _ZERO)

    def own(self, thread: str) -> _Own:
        """Return what a thread has asked for, spent and reserved, over all bridges."""
        found = [own for part in self._parts.values() if (own := part.threads.get(thread)) is not None]
        return _Own(
            sum(own.requests for own in found),
            sum((own.spent for own in found), _ZERO),
            sum((own.reserved for own in found), _ZERO),
        )

    def end(self, thread: str) -> None:
        """Note that a thread has ended: it is forgotten once many others have ended after it, if nothing is reserved.

        Where each thread has its own dollars, none is forgotten: then it is exact whatever goes on after its end.
        """
        if self.budget.usd_per_thread is not None:
            return
        self._ended[thread] = None
        self._ended.move_to_end(thread)
        while len(self._ended) > self._most_ended:
            oldest, _ = self._ended.popitem(last=False)
            if not self.own(oldest).reserved:
                for part in self._parts.values():
                    part.threads.pop(oldest, None)

    def judge_count(self, thread: str, queued: int) -> Refusal | None:
        """Return why a thread, of which `queued` requests wait, may not ask for one more; `None` if it may."""
        limit = self.budget.requests_per_thread
        if not thread or limit is None:
            return None
        self._ended.pop(thread, None)  # it continues
        asked = self.own(thread).requests + queued
        return Refusal("requests_per_thread", Decimal(asked), _ZERO, Decimal(limit)) if asked >= limit else None

    def judge(self, thread: str, worst: Decimal | None, more: Part) -> Refusal | None:
        """Return why a request may not be sent; `None` if it may.

        Args:
            thread: Its thread.
            worst: What it may cost at most; `None` if no price is known.
            more: What goes in the same batch.
        """
        budget = self.budget
        if not budget.is_priced:
            return None
        if worst is None:
            return Refusal("price", self.spent, self.reserved, Decimal(budget.usd or budget.usd_per_thread or 0))
        if thread and budget.usd_per_thread is not None:
            own, with_it = self.own(thread), more.threads.get(thread)
            held, limit = own.reserved + (with_it.reserved if with_it else 0), Decimal(budget.usd_per_thread)
            if own.spent + held + worst > limit:
                return Refusal("usd_per_thread", own.spent, held, limit)
        if budget.usd is not None:
            spent, held, limit = self.spent, self.reserved + more.reserved, Decimal(budget.usd)
            if spent + held + worst > limit:
                return Refusal("usd", spent, held, limit, waits=held > 0 and spent + worst <= limit)
        return None

    def reserve(self, bridge: str, key: str, account: Account) -> None:
        """Reserve what a batch may cost, and count its requests."""
        part = self.part(bridge)
        part.count(account)
        part.held[key] = account
        for who, worst in zip(account.who, account.worst, strict=False):
            part.promise(who.thread, worst)

    def release(self, bridge: str, key: str) -> None:
        """Give back what a batch that was not sent has reserved, and do not count its requests."""
        part = self.part(bridge)
        account = part.held.pop(key, None)
        if account is not None:
            part.count(account, -1)
            self._give_back(part, account)

    def settle(self, bridge: str, key: str, account: Account, prices: Prices) -> None:
        """Put what a batch has used in the place of what was reserved for it."""
        part = self.part(bridge)
        held = part.held.pop(key, None)
        if held is None:
            part.count(account)
        if self.budget.is_priced:
            part.spend(account, prices)
        if held is not None:
            self._give_back(part, held)

    def load(self, bridge: str, accounts: Mapping[str, tuple[Account, bool]], prices: Prices) -> None:
        """Replace all that was known of a bridge by what its ledger says.

        Args:
            bridge: The bridge.
            accounts: By key, with whether the batch is open: then it holds its reservation.
            prices: The bridge's.
        """
        self._parts[bridge] = Part()
        for key, (account, is_open) in accounts.items():
            if is_open:
                self.reserve(bridge, key, account)
            else:
                self.settle(bridge, key, account, prices)

    def _give_back(self, part: Part, account: Account) -> None:
        for who, worst in zip(account.who, account.worst, strict=False):
            if worst:
                part.promise(who.thread, -worst)
        self.version += 1
        for call in self.on_change:
            call()
