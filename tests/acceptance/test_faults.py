"""The fault matrix: whatever the provider does, every request ends with its own answer, or with its own typed error.

`FAULTS` is the table. Each fault meets a Runner (one thread a request) and a Batcher, 500 requests (fewer in a sample) in two
batches, one for each of two models. What they end with is measured, and `docs/faults.md` shows it.
"""

import asyncio
import gc
import itertools
import re
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

import pytest
import sampling
from fault_bench import ANSWERED, CALM, HALF, check_page, has_struck, in_code, in_words, no_garbage, said, seed_for
from langgraph.graph import StateGraph
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, Runner, wait
from batch_bridge.errors import RequestError
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

REQUESTS = sampling.many(500, 160)
"""In two batches; the page shows what became of 500."""
MODELS = ("gpt-4o-mini", "gpt-4.1-nano")
POLL_INTERVAL = 0.1
TIMEOUT = 120
"""Seconds after which a request that has not ended hangs."""


# -- the table -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """One row: what goes wrong, and what the requests end with.

    Attributes:
        name: As the page calls it.
        switches: Options of the server. `HALF` hits the first batch of a cell, and no other.
        ends: What the requests end with, as the page shows it; how many they are is in braces.
        act: What somebody does while the requests are on their way.
        look: What else must hold once they have ended.
        timeout: Of the client, in seconds.
    """

    name: str
    switches: Mapping[str, Any]
    ends: str
    act: "Callable[[Cell], Awaitable[None]] | None" = None
    look: "Callable[[Cell], None] | None" = None
    timeout: float = 10.0

    def ends_of(self, requests: int) -> str:
        """Tell what so many requests end with."""
        parts = {"quarter": requests // 4, "half": requests // 2, "most": requests - requests // 4, "all": requests}
        return self.ends.format_map(parts)


ALL = "{all} answered"


async def unstick_when_the_neighbour_has_ended(cell: "Cell") -> None:
    await cell.until(lambda: len(cell.ended) == REQUESTS // 2, "the neighbour of the stuck batch to end")
    stuck = max(cell.polls.values(), key=max)  # of the two, the one that is polled still
    await cell.until(lambda: len(stuck) >= 10, "the stuck batch to be polled on")
    pauses = [after - before for before, after in itertools.pairwise(stuck)]
    assert max(pauses[-3:]) >= POLL_INTERVAL * 0.9, "the pauses between polls do not grow"
    assert len(pauses) <= 8 + sum(pauses) / POLL_INTERVAL, "the pauses between polls do not grow"
    assert len(cell.ended) == REQUESTS // 2
    cell.server.configure(stuck=0.0)


async def cancel_on_the_dashboard(cell: "Cell") -> None:
    async def half_way():
        live = [each async for each in cell.client.batches.list() if each.status == "in_progress"]
        return [each for each in live if each.request_counts.completed == REQUESTS // 4]

    (batch,) = await cell.until(half_way, "the batch to be half way")
    await cell.client.batches.cancel(batch.id)


async def end_the_unknown_status(cell: "Cell") -> None:
    await cell.until(
        lambda: len([each for each in cell.polls.values() if len(each) >= 5]) == 2, "both batches to be polled on"
    )
    assert not cell.ended
    cell.server.configure(unknown_status=0.0, stuck=0.0)


def waited_as_told(cell: "Cell") -> None:
    for attempts in cell.submits.values():
        assert len(attempts) <= 5
    # The pause counts from the tick's beginning, so after the first try, the one with the upload, it may be shorter.
    lasts = [attempts[-1] - attempts[-2] for attempts in cell.submits.values() if len(attempts) > 2]
    assert lasts
    assert min(lasts) >= RETRY_AFTER * 0.9


def adopted(cell: "Cell") -> None:
    assert cell.stats.batches == cell.creates() == 2


def made_once_more(cell: "Cell") -> None:
    assert cell.creates() == 3


def made_at_most_once_more(cell: "Cell") -> None:
    assert cell.creates() <= 3  # on a slow machine it is visible already when it is looked for


RETRY_AFTER = 0.5

FAULTS = (
    # lines of the output
    Fault("lines in another order", {"shuffle": True}, ALL),
    Fault("lines missing", {"missing_line": 0.3}, "answered; those hit: RequestFailed (missing_result, retryable)"),
    Fault("lines doubled", {"doubled_line": 0.3}, ALL),
    Fault("lines of unknown requests", {"unknown_line": 0.3}, ALL),
    Fault("lines garbled", {"garbled_line": 0.3}, "answered; those hit: RequestFailed (unreadable_answer, retryable)"),
    Fault("lines that strict JSON refuses", {"dirty_line": 0.3}, ALL),
    Fault(
        "lines with 200 and an error", {"error_answer": 0.3}, "answered; those hit: RequestFailed (server_error 200)"
    ),
    Fault(
        "lines that never ran",
        {"unrun_line": 0.3},
        "answered; those hit: RequestFailed (request_timeout, retryable)",
    ),
    Fault(
        "lines failed",
        {"line_failure": 0.3, "line_failure_status": [400, 429, 500, 0]},
        "answered; those hit: RequestFailed (invalid_value 400), RequestFailed (no_status 0, retryable), "
        "RequestFailed (rate_limit_exceeded 429, retryable), RequestFailed (server_error 500, retryable)",
    ),
    # ends of a batch
    Fault("expired half way", {"expiry": HALF}, "{most} answered, {quarter} RequestExpired (expired, retryable)"),
    Fault(
        "failed: token_limit_exceeded",
        {"batch_failure": HALF},
        "{half} answered, {half} RequestFailed (token_limit_exceeded, retryable)",
    ),
    Fault(
        "failed: another code",
        {"batch_failure": HALF, "batch_failure_code": "invalid_json_line"},
        "{half} answered, {half} RequestFailed (invalid_json_line)",
    ),
    Fault("stuck, then released", {"stuck": HALF}, ALL, act=unstick_when_the_neighbour_has_ended),
    Fault(
        "cancelled half way",
        {"stuck": HALF, "stuck_share": 0.5},
        "{most} answered, {quarter} RequestCancelled (cancelled, retryable)",
        act=cancel_on_the_dashboard,
    ),
    Fault("unknown status for a while", {"unknown_status": True, "stuck": True}, ALL, act=end_the_unknown_status),
    Fault(
        "forgotten: 404 after it was seen",
        {"forgotten": HALF, "stuck": HALF},
        "{half} answered, {half} RequestFailed (batch_not_found 404)",
    ),
    Fault("output file gone", {"output_missing": True}, "{all} RequestFailed (output_file_missing)"),
    # calls
    Fault("results late", {"files_after": 0.5}, ALL),
    Fault("create: input file not seen yet", {"next_unseen_file": 2}, ALL),
    Fault("visible late", {"visible_after": 0.5}, ALL),
    Fault("create: response lost", {"next_drop_create_response": 1}, ALL, look=adopted),
    Fault("create: 500, no effect", {"next_create_error": 1}, ALL, look=made_once_more),
    Fault("create: 500, took effect", {"next_create_error_after": 1}, ALL, look=adopted),
    Fault(
        "create: response lost, and visible late",
        {"next_drop_create_response": 1, "visible_after": 0.5},
        ALL,
        look=made_at_most_once_more,
    ),
    Fault(
        "create: response lost, listings 502",
        {"next_drop_create_response": 1, "next_list_error": 5},
        ALL,
        look=adopted,
    ),
    Fault(
        "create: 429 with Retry-After",
        {"next_create_rate_limit": 4, "retry_after": RETRY_AFTER},
        ALL,
        look=waited_as_told,
    ),
    Fault("upload: 500", {"next_upload_error": 5}, ALL),
    Fault(
        "upload: 400",
        {"upload_error": True, "upload_error_status": 400},
        "{all} RequestFailed (invalid_request_error 400)",
    ),
    Fault("poll: 502, twenty times in a row", {"next_poll_error": 40}, ALL),
    Fault("poll: 401 for a while", {"next_poll_error": 10, "poll_error_status": 401}, ALL),
    Fault("download cut in the middle", {"next_cut_download": 4}, ALL),
    Fault("slow responses", {"slow_response": True, "slow_response_seconds": 0.2}, ALL),
    Fault(
        "responses after the client's timeout",
        {"slow_response": 0.3, "slow_response_seconds": 0.6},
        ALL,
        timeout=0.4,
    ),
    Fault(
        "a bad day: much of it at once",
        {
            "line_failure": 0.2,
            "doubled_line": 0.2,
            "unknown_line": 0.2,
            "visible_after": 0.2,
            "next_drop_create_response": 1,
            "next_upload_error": 1,
            "next_list_error": 2,
            "next_poll_error": 4,
            "next_cut_download": 2,
        },
        "answered; those hit: RequestFailed (server_error 500, retryable)",
    ),
)


# -- a cell --------------------------------------------------------------------------------------------------------


class Watched(OpenAIBatch):
    """The provider, with a watch in its hand."""

    polls: dict[str, list[float]]
    submits: dict[str, list[float]]

    async def submit(self, key, requests, prepared):
        self.submits[key].append(time.monotonic())
        return await super().submit(key, requests, prepared)

    async def poll(self, handle, requests):
        self.polls[handle["id"]].append(time.monotonic())
        return await super().poll(handle, requests)


@dataclass
class Cell:
    """One fault and one host, while they meet.

    Attributes:
        ended: What each request has ended with, by its number.
        polls, submits: When the provider was called, by the batch.
        stats: The server's, once all have ended.
    """

    fault: Fault
    host: str
    server: BatchServer
    client: AsyncOpenAI
    ended: dict[int, Any] = field(default_factory=dict)
    polls: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    submits: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    stats: Any = None

    def provider(self) -> OpenAIBatch:
        made = Watched(self.client)
        made.polls, made.submits = self.polls, self.submits
        return made

    def creates(self) -> int:
        return sum(map(len, self.submits.values()))

    def prompt(self, number: int) -> str:
        return f"What is the square of {number}?"

    def item(self, number: int) -> dict[str, Any]:
        return {"model": MODELS[number % 2], "messages": [{"role": "user", "content": self.prompt(number)}]}

    async def until(self, holds: Callable[[], Any], what: str) -> Any:
        """Wait for something, and return it."""
        try:
            async with asyncio.timeout(TIMEOUT / 2):
                while True:
                    seen = holds()
                    seen = await seen if asyncio.iscoroutine(seen) else seen
                    if seen:
                        return seen
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}") from None


class State(TypedDict, total=False):
    number: int
    item: dict[str, Any]
    answer: dict[str, Any]


async def ask(state: State) -> State:
    return {"answer": await wait(state["item"])}


async def runner(cell: Cell) -> AsyncIterator[tuple[int, Any]]:
    graph = StateGraph(State).add_node("ask", ask).add_edge("__start__", "ask")
    bridge = Bridge(cell.provider(), poll_interval=POLL_INTERVAL, attempts=1)
    inputs = [{"item": cell.item(number)} for number in range(REQUESTS)]
    async with Runner(graph, bridge, path=":memory:", progress=False) as open_runner:
        async for number, result in open_runner.abatch_as_completed(inputs, return_exceptions=True):
            yield number, result if isinstance(result, Exception) else result["answer"]


async def batcher(cell: Cell) -> AsyncIterator[tuple[int, Any]]:
    async def ask_one_model(numbers: Iterable[int]) -> list[tuple[int, Any]]:
        items = [cell.item(number) for number in numbers]
        return list(zip(numbers, await open_batcher.amap(items, return_exceptions=True), strict=True))

    async with Batcher(Bridge(cell.provider(), poll_interval=POLL_INTERVAL, attempts=1)) as open_batcher:
        models = [ask_one_model(range(first, REQUESTS, len(MODELS))) for first in range(len(MODELS))]
        for asked in asyncio.as_completed(models):
            for pair in await asked:
                yield pair


HOSTS = {"runner": runner, "batcher": batcher}


async def meet(cell: Cell) -> None:
    """Let a host meet a fault until every request has ended."""

    async def host() -> None:
        async for number, result in HOSTS[cell.host](cell):
            assert number not in cell.ended, f"request {number} ended twice"
            cell.ended[number] = result

    try:
        async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as group:
            group.create_task(host())
            if cell.fault.act is not None:
                group.create_task(cell.fault.act(cell))
    except TimeoutError:
        missing = REQUESTS - len(cell.ended)
        pytest.fail(f"{cell.fault.name!r}: {missing} requests of the {cell.host} hang after {TIMEOUT} s")


# -- what it is measured by ----------------------------------------------------------------------------------------

LOSE_LINES = {"line_failure", "missing_line", "garbled_line", "error_answer", "unrun_line"}


def kind(cell: Cell, number: int) -> str:
    """What a request has ended with; another's answer, and an error of no type of ours, end the test."""
    match cell.ended[number]:
        case {"choices": [{"message": {"content": str(text)}}], "model": model}:
            assert text.endswith(f" You asked: {cell.prompt(number)}"), f"request {number} got another's answer"
            assert model == MODELS[number % 2]
            return ANSWERED
        case RequestError() as error:
            return said(error)
        case other:
            raise AssertionError(f"request {number} ended with {other!r}")


def ends(cell: Cell) -> str:
    """What the requests have ended with, in words; how many a share hits, chance decides."""
    hit = sum(cell.stats.faults.get(each, 0) for each in LOSE_LINES)
    return in_words(Counter(kind(cell, number) for number in range(REQUESTS)), hit)


class Bench:
    """The server that all cells share, each with an API key of its own."""

    def __init__(self, server: BatchServer) -> None:
        self.server = server
        self.measured: set[tuple[str, str]] = set()
        self._batches = 0

    async def run(self, fault: Fault, host: str) -> Cell:
        self.server.configure(**CALM)
        self._batches += self.server.stats.batches
        self.server.reset_stats()
        self.server.configure(**fault.switches, seed=seed_for(fault.switches, self._batches + 1))
        key = f"{fault.name} {host}"
        async with AsyncOpenAI(base_url=self.server.base_url, api_key=key, timeout=fault.timeout) as client:
            cell = Cell(fault, host, self.server, client)
            await meet(cell)
        cell.stats = self.server.stats
        gc.collect()
        return cell


@pytest.fixture(scope="module")
def bench():
    with no_garbage(), BatchServer() as server:
        yield Bench(server)


@pytest.mark.sampled
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("fault", FAULTS, ids=[re.sub(r"\W+", "-", fault.name) for fault in FAULTS])
async def test_every_request_ends_with_its_own_answer_or_its_own_error(bench, fault, host):
    cell = await bench.run(fault, host)
    has_struck(fault.switches, cell.stats)
    assert len(cell.ended) == REQUESTS
    errors = [each for each in cell.ended.values() if isinstance(each, RequestError)]
    assert len({error.request_id for error in errors} - {""}) == len(errors), "two requests got one error"
    assert (ends(cell), cell.stats.paid_twice + cell.stats.bodies_repeated) == (fault.ends_of(REQUESTS), 0)
    bench.measured.add((fault.name, host))
    if fault.look is not None:
        fault.look(cell)


# -- the page ------------------------------------------------------------------------------------------------------


def table(bench: Bench) -> list[str]:
    rows = ["| fault | switches of the server | the 500 requests end with | paid twice |", "|---|---|---|---|"]
    met = [fault for fault in FAULTS if any((fault.name, host) in bench.measured for host in HOSTS)]
    return rows + [f"| {each.name} | {in_code(each.switches)} | {each.ends_of(500)} | 0 |" for each in met]


def test_the_page_shows_what_was_measured(bench):
    rows = table(bench)
    check_page("measured", rows, __file__, is_whole=len(rows) - 2 == len(FAULTS))
