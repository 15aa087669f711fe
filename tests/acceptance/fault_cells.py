"""The table of faults by provider, and how many threads meet one of them. `test_faults_providers.py` judges what it returns."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

import sampling
from fault_bench import CALM
from fault_families import ANTHROPIC, AZURE, GEMINI, INLINE, MISTRAL, TOGETHER, SharedClientState
from langgraph.graph import StateGraph

from batch_bridge import Bridge, Runner, events, wait
from batch_bridge.testing import BatchServer

THREADS = 1_000
"""Those that the page is about."""
FEWER = sampling.many(THREADS, 200)
"""Those that meet a fault in this run, unless it needs more to be seen."""
POLL_INTERVAL = 0.02
HANGS = 300
"""Seconds after which a cell that has not ended hangs; a loaded machine needs a tenth of them."""
DEADLINES = (3.0, 12.0, 60.0)
"""Seconds until a batch that is stuck is late: the first within which this machine gets so far that it is stuck."""


# -- the table -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ends:
    """What the requests end with.

    Attributes:
        how: In words; in braces are names of the family's, and how many threads they are.
        sent: How often a request was sent, at most.
        again: The share of them that was paid a second time; `None` where chance decides that.
    """

    how: str
    sent: int = 1
    again: float | None = 0.0

    def of(self, threads: int, family: SharedClientState) -> "Ends":
        """Return what so many threads end with at a provider."""
        counts = {"all": f"{threads:,}", "most": f"{threads - threads // 8:,}", "eighth": f"{threads // 8:,}"}
        return replace(self, how=self.how.format_map({**family.words, **counts}))


@dataclass(frozen=True, eq=False)
class Fault:
    """One fault.

    Attributes:
        name: As the page calls it.
        switches: Options of the server.
        ends: What the requests end with.
        elsewhere: The same where it is another end.
        cannot: The families that cannot meet it, and why.
        instead: Where it looks otherwise: its switches there, and what they stand for.
        same: Families whose form of it is another's.
        is_late: The bridge has a deadline.
        threads: How many meet it.
        act: What somebody does while the requests are on their way.
    """

    name: str
    switches: Mapping[str, Any]
    ends: Ends
    elsewhere: Mapping[SharedClientState, Ends] = field(default_factory=dict)
    cannot: Mapping[SharedClientState, str] = field(default_factory=dict)
    instead: Mapping[SharedClientState, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    same: frozenset[SharedClientState] = frozenset({INLINE})
    is_late: bool = False
    threads: int = FEWER
    act: "Callable[[Cell, BatchServer], Awaitable[None]] | None" = None

    def ends_at(self, family: SharedClientState) -> Ends:
        return self.elsewhere.get(family, self.ends)

    def is_met_by(self, family: SharedClientState) -> bool:
        return family not in self.cannot and family not in self.same

    def switches_at(self, family: SharedClientState) -> Mapping[str, Any]:
        return self.instead[family][1] if family in self.instead else self.switches


async def end_the_unknown_status(cell: "Cell", server: BatchServer) -> None:
    while cell.polls < 8:
        await asyncio.sleep(0.01)
    assert not cell.ended
    server.configure(unknown_status=0.0, stuck=0.0)


ALL = Ends("{all} answered")
EACH = frozenset[SharedClientState]()
NO_CODE = "a failed job has no code that would tell: see the row before"
FULL = ("a 429 of the create call", {"next_create_rate_limit": 3, "retry_after": 0.1})

FAULTS = (
    Fault(
        "lines in another order",
        {"shuffle": True},
        ALL,
        same=EACH,
        cannot={INLINE: "the results come in the order of the requests"},
    ),
    Fault(
        "lines missing",
        {"missing_line": 0.3},
        Ends("answered; those hit: RequestFailed (missing_result, retryable)"),
        same=EACH,
    ),
    Fault("lines doubled", {"doubled_line": 0.3}, ALL, same=EACH),
    Fault("lines of unknown requests", {"unknown_line": 0.3}, ALL, same=EACH),
    Fault(
        "half expired, again and again",
        {"expiry": True, "expiry_share": 0.5},
        Ends("{most} answered, {eighth} RequestExpired (expired, retryable)", sent=3),
        elsewhere={GEMINI: Ends("{all} RequestExpired (expired, retryable)", sent=3, again=None)},
        cannot={AZURE: "Azure does not expire late jobs; a deadline ends them"},
    ),
    Fault(
        "failed, with no files",
        {"batch_failure": True, "batch_failure_code": "invalid_json_line"},
        Ends("{all} RequestFailed ({failed})"),
        cannot={ANTHROPIC: "a batch never fails as a whole; its requests do"},
    ),
    Fault(
        "token_limit_exceeded",
        {"enqueued_tokens": 20_000},
        Ends("{all} answered", sent=2),
        elsewhere={ANTHROPIC: ALL, GEMINI: ALL},
        cannot={TOGETHER: NO_CODE, MISTRAL: NO_CODE},
        instead={ANTHROPIC: FULL, GEMINI: FULL},
        threads=THREADS,
    ),
    Fault(
        "lines 429 and 500",
        {"line_failure": 0.3, "line_failure_status": [429, 500]},
        Ends("answered; those hit each time: {passing}", sent=3),
        same=EACH,
        threads=sampling.many(THREADS, 600),
    ),
    Fault(
        "lines of status 0",
        {"line_failure": 0.3, "line_failure_status": 0},
        Ends("answered; those hit each time: RequestFailed (no_status 0, retryable)", sent=3),
        cannot={
            ANTHROPIC: "an errored result has a type, and no status",
            GEMINI: "an error has a code of `google.rpc.Status`, of which 0 is none",
        },
        threads=sampling.many(THREADS, 400),
    ),
    Fault("poll: 502, twenty times", {"next_poll_error": 20}, ALL),
    Fault(
        "unknown status for a while",
        {"unknown_status": True, "unknown_status_name": "rebalancing", "stuck": True},
        ALL,
        act=end_the_unknown_status,
    ),
    Fault(
        "stuck at 99 % for ever, with a deadline",
        {"stuck": True, "stuck_share": 0.99},
        Ends("{all} answered", sent=2),
        elsewhere={GEMINI: Ends("{all} answered", sent=2, again=0.99)},
        is_late=True,
    ),
)


# -- a cell --------------------------------------------------------------------------------------------------------


@dataclass
class Cell:
    """What a fault and a provider came to.

    Attributes:
        threads: How many there are.
        ended: What each request has ended with, by its number: the text of its answer, or its error.
        sent: How often each request was sent, by its id.
        batches: The ids of the requests in each batch, by our key of it.
        resubmitted: How many requests went into another batch, all told.
        polls: Looks at a batch that had not ended.
        report: The Runner's.
        stats: The server's.
    """

    threads: int
    ended: dict[int, Any] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    batches: dict[str, tuple[str, ...]] = field(default_factory=dict)
    resubmitted: int = 0
    polls: int = 0
    report: Any = None
    stats: Any = None

    def note(self, event: events.Event) -> None:
        match event:
            case events.Submitted(batch=batch, requests=requests):
                self.sent.update(requests)
                self.batches[batch] = requests
            case events.Resubmitted(requests=requests):
                self.resubmitted += len(requests)
            case events.Polled():
                self.polls += 1


class State(TypedDict, total=False):
    prompt: str
    answer: Any


async def ask(state: State) -> State:
    return {"answer": await wait([{"role": "user", "content": state["prompt"]}])}


def prompt(number: int) -> str:
    return f"What is the square of {number}?"


async def run(cell: Cell, family: SharedClientState, server: BatchServer, key: str, deadline: float | None) -> None:
    """Let the threads meet what goes wrong at the server, until all have ended."""
    graph = StateGraph(State).add_node("ask", ask).add_edge("__start__", "ask")
    bridge = Bridge(family.open(server.root_url, key), poll_interval=POLL_INTERVAL, deadline=deadline)
    inputs = [{"prompt": prompt(number)} for number in range(cell.threads)]
    async with Runner(graph, bridge, path=":memory:", progress=False, on_event=cell.note) as runner:
        async for number, result in runner.abatch_as_completed(inputs, return_exceptions=True):
            assert number not in cell.ended, f"request {number} ended twice"
            cell.ended[number] = result if isinstance(result, Exception) else family.text(result["answer"])
        cell.report = await runner.report()


async def meet(fault: Fault, family: SharedClientState, server: BatchServer) -> Cell:
    """Let a fault and a provider meet, on a machine of any speed."""
    for deadline in DEADLINES if fault.is_late else (None,):
        cell = Cell(fault.threads)
        server.configure(**CALM)
        server.reset_stats()
        server.configure(**fault.switches_at(family))
        try:
            async with asyncio.timeout(HANGS), asyncio.TaskGroup() as group:
                group.create_task(run(cell, family, server, f"{fault.name} {family.name} {deadline}", deadline))
                if fault.act is not None:
                    group.create_task(fault.act(cell, server))
        except TimeoutError:
            raise AssertionError(f"{cell.threads - len(cell.ended)} requests hang after {HANGS} s") from None
        cell.stats = server.stats
        if not fault.is_late or cell.stats.paid == fault.switches["stuck_share"] * cell.threads:
            return cell
    raise AssertionError(f"with a deadline of {deadline} s, the batch is late before it is stuck")
