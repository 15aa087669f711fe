"""Each fault at each provider: every one of 1,000 threads (fewer in a sample) ends with its own answer or its own typed error.

Nothing hangs, and nothing is paid twice beyond what is on record as sent again. The bridge has its defaults: a request is
sent three times at most. `fault_cells.py` holds the table, `fault_families.py` the providers, and `docs/faults.md` shows
what was measured.
"""

import gc
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from fault_bench import ANSWERED, check_page, has_struck, in_code, in_words, no_garbage, said
from fault_cells import FAULTS, THREADS, Cell, Ends, Fault, meet, prompt
from fault_families import FAMILIES

from batch_bridge.errors import RequestError
from batch_bridge.testing import BatchServer

CELLS = [(fault, family) for family in FAMILIES for fault in FAULTS if fault.is_met_by(family)]
MET: set[tuple[str, str]] = set()


# -- what it is measured by ----------------------------------------------------------------------------------------


def kind(cell: Cell, number: int) -> str:
    """What a request has ended with; another's answer, and an error of no type of ours, end the test."""
    match cell.ended[number]:
        case str(text):
            assert text.endswith(f" You asked: {prompt(number)}"), f"request {number} got another's answer"
            return ANSWERED
        case RequestError() as error:
            assert len(error.attempts) == cell.sent[error.request_id] - 1, "what was tried is not on record"
            assert all(error.request_id in cell.batches[each["batch"]] for each in error.attempts)
            return said(error)
        case other:
            raise AssertionError(f"request {number} ended with {other!r}")


def ends(cell: Cell, *, are_results_hidden: bool) -> Ends:
    """What the requests have ended with; how many a share of the lines has hit, chance decides."""
    kinds = Counter(kind(cell, number) for number in range(cell.threads))
    by_chance = any(cell.stats.faults.get(each) for each in ("line_failure", "missing_line"))
    words = in_words(kinds, kinds.total() - kinds[ANSWERED] if by_chance else None)
    if cell.stats.faults.get("line_failure"):
        words = words.replace("hit:", "hit each time:")
    again = paid_again(cell, kinds[ANSWERED], are_results_hidden=are_results_hidden)
    return Ends(words, max(cell.sent.values()), None if are_results_hidden else again / cell.threads)


def paid_again(cell: Cell, answered: int, *, are_results_hidden: bool) -> int:
    """How many requests the server was paid for a second time; what it was paid for at all must be on record."""
    stats = cell.stats
    lost = sum(isinstance(each, RequestError) and each.code == "missing_result" for each in cell.ended.values())
    assert lost == stats.faults.get("missing_line", 0)
    assert stats.failed == stats.faults.get("line_failure", 0)
    refused = cell.threads * stats.batches_by_status.get("failed", 0)
    assert cell.sent.total() == stats.requests + refused + stats.realtime == cell.threads + cell.resubmitted
    assert cell.report.resubmitted == cell.resubmitted
    again = stats.paid_twice + stats.bodies_repeated
    if stats.realtime:
        again += stats.paid + stats.realtime - answered
    if are_results_hidden:
        assert stats.paid - again <= cell.threads
    else:
        assert stats.paid + stats.realtime - again == answered + lost
    assert again <= cell.resubmitted, "a request was paid twice, and there is no record why"
    return again


# -- the cells -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[BatchServer]:
    """The server that all cells share, each with an API key of its own."""
    with no_garbage(), BatchServer() as server:
        yield server


def name_of(value: Any) -> str:
    return re.sub(r"\W+", "-", value.name)


@pytest.mark.sampled
@pytest.mark.parametrize(("fault", "family"), CELLS, ids=name_of)
async def test_every_thread_ends_with_its_own_answer_or_its_own_error(server, fault, family):
    cell = await meet(fault, family, server)
    gc.collect()
    assert len(cell.ended) == cell.threads
    has_struck(fault.switches_at(family), cell.stats)
    errors = [each for each in cell.ended.values() if isinstance(each, RequestError)]
    assert len({error.request_id for error in errors}) == len(errors), "two requests got one error"
    expected = fault.ends_at(family)
    assert ends(cell, are_results_hidden=expected.again is None) == expected.of(cell.threads, family)
    MET.add((fault.name, family.name))


# -- the page ------------------------------------------------------------------------------------------------------


def rows_of(fault: Fault) -> list[str]:
    """A row for each end that a fault has, with the families at which it has it."""
    places: dict[tuple[str, ...], list[str]] = {}
    for family in FAMILIES:
        what = fault.name + (f", which is {fault.instead[family][0]}" if family in fault.instead else "")
        switches = in_code(fault.switches_at(family))
        if (fault.name, family.name) in MET:
            told = fault.ends_at(family).of(THREADS, family)
            again = "what had run" if told.again is None else f"{told.again * THREADS:,.0f}"
            row = (what, switches, told.how, str(told.sent), again)
        elif family in fault.cannot:
            row = (fault.name, "", f"cannot happen: {fault.cannot[family]}", "", "")
        else:
            continue
        places.setdefault(row, []).append(family.name)
    return [f"| {what} | {', '.join(names)} | {' | '.join(cells)} |" for (what, *cells), names in places.items()]


def test_the_page_shows_what_was_measured():
    rows = [
        "| fault | at | switches of the server | the 1,000 requests end with | sent, at most | paid twice |",
        "|---|---|---|---|---|---|",
        *(row for fault in FAULTS for row in rows_of(fault)),
    ]
    check_page("by provider", rows, __file__, is_whole=len(MET) == len(CELLS), at=1)
