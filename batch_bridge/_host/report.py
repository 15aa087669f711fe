"""The report of a Runner."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from batch_bridge._core.models import Closed, Usage
from batch_bridge._core.wording.html_text import counted, table
from batch_bridge._money import Account, AccountLine, Cost, shown

SINGLE: Final = frozenset({"realtime", "flex"})
"""Lanes in which each request is a call of its own, and no batch."""


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of a Runner; those of the ledger survive restarts, those of the session do not.

    Attributes:
        threads: Threads that ended in this session, including failed ones. A thread of a run counts once, however often
            it was run again or read again; a single call counts with each turn of its thread.
        requests: Requests that were settled in batches or by realtime calls, of all sessions on this ledger.
        batches: Batches that were settled, of all sessions on this ledger, without realtime calls.
        outcomes: Requests by outcome, of all sessions on this ledger.
        usage: Tokens by model, of all sessions on this ledger, if the provider reports them; those of realtime calls
            are separate, because they cost more.
        langgraph_seconds: Wall time of this session in which at least one thread ran.
        bridge_seconds: Wall time in which no thread ran and a bridge was at work.
        waiting_seconds: Wall time in which nothing was to be done but wait.
        resubmitted: Requests that went into another batch after one, of all sessions on this ledger.
        paid_twice: Requests that were answered by a batch and, because it was late, elsewhere too, of all sessions.
        unclaimed: Answers that were paid for and that no wait takes any more, of all sessions on this ledger: what
            their node asks has changed meanwhile, or their thread was started again.
        problems: What is wrong now with batches in flight that cannot be looked at, one line for each.
        cost: What was paid for all of that, what it would have cost in realtime, and what was saved, of all sessions on
            this ledger. Batches count once they have ended.
        run_id: The run that all of this is about; `None` for the whole. Of a run the three times, `paid_twice` and
            `unclaimed` are not known, and are zero; its threads are those that have ended or asked for something.
    """

    threads: int
    requests: int
    batches: int
    outcomes: dict[str, int]
    usage: tuple[Usage, ...]
    langgraph_seconds: float
    bridge_seconds: float
    waiting_seconds: float
    resubmitted: int = 0
    paid_twice: int = 0
    unclaimed: int = 0
    problems: tuple[str, ...] = ()
    cost: Cost = field(default_factory=Cost)
    run_id: str | None = None

    def _repr_html_(self) -> str:
        """Return it for a notebook."""
        cost = self.cost
        amounts = [shown(each, cost.currency) for each in (cost.paid, cost.list_price, cost.saved)]
        seconds = {"LangGraph": self.langgraph_seconds, "bridges": self.bridge_seconds, "waited": self.waiting_seconds}
        tokens = [(_named(each), f"{each.input_tokens:,} in, {each.output_tokens:,} out") for each in self.usage]
        rows: list[tuple[str, object]] = [
            ("threads", f"{self.threads:,}"),
            ("requests", f"{self.requests:,}"),
            ("outcomes", counted(sorted(self.outcomes.items()))),
            ("batches", f"{self.batches:,}"),
            ("sent again", self.resubmitted or None),
            ("paid twice", self.paid_twice or None),
            ("unclaimed answers", self.unclaimed or None),
            *((f"tokens of {name}", told) for name, told in tokens),
            *zip(("paid", "in realtime", "saved"), amounts if cost.requests else ("", "", ""), strict=True),
            ("seconds", ", ".join(f"{value:.1f} {name}" for name, value in seconds.items() if value)),
            *(("problem", each) for each in self.problems),
        ]
        return table("all runs" if self.run_id is None else f"run {self.run_id}", rows)


def of_batches(
    closed: Sequence[Closed],
    cost: Cost,
    *,
    threads: int = 0,
    seconds: Mapping[str, float] | None = None,
    unclaimed: int = 0,
    problems: tuple[str, ...] = (),
) -> Report:
    """Return what settled batches come to."""
    outcomes: dict[str, int] = {}
    for batch in closed:
        for kind, count in batch.outcomes.items():
            outcomes[kind] = outcomes.get(kind, 0) + count
    spent = seconds or {}
    return Report(
        threads=threads,
        requests=sum(batch.requests for batch in closed),
        batches=sum(batch.handle is not None and batch.lane not in SINGLE for batch in closed),
        outcomes=outcomes,
        usage=add_up([batch.usage for batch in closed if batch.usage is not None]),
        langgraph_seconds=spent.get("langgraph", 0.0),
        bridge_seconds=spent.get("bridge", 0.0),
        waiting_seconds=spent.get("waiting", 0.0),
        resubmitted=sum(batch.resubmitted for batch in closed),
        paid_twice=sum(batch.paid_twice for batch in closed),
        unclaimed=unclaimed,
        problems=problems,
        cost=cost,
    )


def of_run(run_id: str, accounts: Sequence[Account], cost: Cost, *, threads: int, problems: tuple[str, ...]) -> Report:
    """Return what one run comes to.

    Args:
        run_id: The run.
        accounts: All that is settled, of all bridges.
        cost: What the run has cost.
        threads: Its threads that are known to have ended, asked or not.
        problems: What is wrong now.
    """
    outcomes: Counter[str] = Counter()
    asked: set[str] = set()
    batches = resubmitted = 0
    usages: list[Usage] = []
    for account in accounts:
        places = {place for place, who in enumerate(account.who) if who.run == run_id}
        asked.update(account.who[place].thread for place in places)
        if account.lane is None or not places:  # no batch tells of a cache hit
            continue
        batches += account.lane not in SINGLE
        ended = [account.ended[place] for place in places if place in account.ended]
        outcomes.update(ended)
        resubmitted += len(places) - len(ended)
        usages += [_usage(line) for line in account.each() if line.who.run == run_id and line.kind == "billed"]
    return Report(
        threads=max(threads, len(asked)),
        requests=outcomes.total(),
        batches=batches,
        outcomes=dict(outcomes),
        usage=add_up(usages),
        langgraph_seconds=0.0,
        bridge_seconds=0.0,
        waiting_seconds=0.0,
        resubmitted=resubmitted,
        problems=problems,
        cost=cost,
        run_id=run_id,
    )


def _usage(line: AccountLine) -> Usage:
    tokens, is_realtime = line.used.tokens, line.lane in SINGLE
    return Usage(line.used.model, tokens.input, tokens.output, tokens.cache_read, is_realtime)


def _named(usage: Usage) -> str:
    return f"{usage.model or 'a model'}{' in realtime' if usage.realtime else ''}"


def add_up(usages: list[Usage]) -> tuple[Usage, ...]:
    """Return one `Usage` for each model, and another for its realtime calls."""
    totals: dict[tuple[str, bool], Usage] = {}
    for each in usages:
        price = (each.model, each.realtime)
        before = totals.get(price, Usage(each.model, 0, 0, 0))
        totals[price] = Usage(
            each.model,
            before.input_tokens + each.input_tokens,
            before.output_tokens + each.output_tokens,
            before.cached_tokens + each.cached_tokens,
            each.realtime,
        )
    return tuple(totals.values())
