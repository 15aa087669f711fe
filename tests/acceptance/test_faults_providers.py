"""Each fault at each provider: every one of 1,000 threads ends with its own answer or its own typed error.

Nothing hangs, and nothing is paid twice beyond what is on record as sent again. The bridge has its defaults: a request is
sent three times at most. `fault_cells.py` holds the table, `fault_families.py` the providers, and `docs/faults.md` shows
what was measured.
"""

import multiprocessing
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from fault_bench import ANSWERED, check_page, has_struck, in_code, in_words, said
from fault_cells import FAULTS, THREADS, Cell, Ends, Fault, begin, meet_here, prompt
from fault_families import FAMILIES, SharedClientState

from batch_bridge.errors import RequestError

CELLS = [(fault, family) for family in FAMILIES for fault in FAULTS if fault.is_met_by(family)]
PROCESSES = 2
MEASURED: dict[tuple[str, str], Ends] = {}


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
    kinds = Counter(kind(cell, number) for number in range(THREADS))
    by_chance = any(cell.stats.faults.get(each) for each in ("line_failure", "missing_line"))
    words = in_words(kinds, kinds.total() - kinds[ANSWERED] if by_chance else None)
    if cell.stats.faults.get("line_failure"):
        words = words.replace("hit:", "hit each time:")
    again = paid_again(cell, kinds[ANSWERED], are_results_hidden=are_results_hidden)
    return Ends(words, max(cell.sent.values()), None if are_results_hidden else again)


def paid_again(cell: Cell, answered: int, *, are_results_hidden: bool) -> int:
    """How many requests the server was paid for a second time; what it was paid for at all must be on record."""
    stats = cell.stats
    lost = sum(isinstance(each, RequestError) and each.code == "missing_result" for each in cell.ended.values())
    assert lost == stats.faults.get("missing_line", 0)
    assert stats.failed == stats.faults.get("line_failure", 0)
    refused = THREADS * stats.batches_by_status.get("failed", 0)
    assert cell.sent.total() == stats.requests + refused + stats.realtime == THREADS + cell.resubmitted
    assert cell.report.resubmitted == cell.resubmitted
    again = stats.paid_twice + stats.bodies_repeated
    if stats.realtime:
        again += stats.paid + stats.realtime - answered
    if are_results_hidden:
        assert stats.paid - again <= THREADS
    else:
        assert stats.paid + stats.realtime - again == answered + lost
    assert again <= cell.resubmitted, "a request was paid twice, and there is no record why"
    return again


# -- the cells, two at a time --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cells(request) -> Iterator[dict[tuple[Fault, SharedClientState], "Future[Cell]"]]:
    """The cells of this run, each in one of the processes: a Runner keeps one core busy, and its server little of another."""
    here = [item for item in request.session.items if item.path == request.path]
    wanted = [item.callspec.params for item in here if "fault" in item.fixturenames]
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn"), initializer=begin) as pool:
        try:
            yield {
                (fault, family): pool.submit(meet_here, FAULTS.index(fault), FAMILIES.index(family))
                for fault, family in ((each["fault"], each["family"]) for each in wanted)
            }
        finally:
            pool.shutdown(cancel_futures=True)


def name_of(value: Any) -> str:
    return re.sub(r"\W+", "-", value.name)


@pytest.mark.sampled(most=7)
@pytest.mark.parametrize(("fault", "family"), CELLS, ids=name_of)
def test_every_thread_ends_with_its_own_answer_or_its_own_error(cells, fault, family):
    cell = cells.pop((fault, family)).result()
    assert len(cell.ended) == THREADS
    has_struck(fault.switches_at(family), cell.stats)
    errors = [each for each in cell.ended.values() if isinstance(each, RequestError)]
    assert len({error.request_id for error in errors}) == len(errors), "two requests got one error"
    expected = fault.ends_at(family)
    measured = ends(cell, are_results_hidden=expected.again is None)
    assert measured == replace(expected, how=expected.how.format_map(family.words))
    MEASURED[fault.name, family.name] = measured


# -- the page ------------------------------------------------------------------------------------------------------


def rows_of(fault: Fault) -> list[str]:
    """A row for each end that a fault has, with the families at which it has it."""
    places: dict[tuple[str, ...], list[str]] = {}
    for family in FAMILIES:
        what = fault.name + (f", which is {fault.instead[family][0]}" if family in fault.instead else "")
        switches = in_code(fault.switches_at(family))
        measured = MEASURED.get((fault.name, family.name))
        if measured is not None:
            again = "what had run" if measured.again is None else f"{measured.again:,}"
            row = (what, switches, measured.how, str(measured.sent), again)
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
    check_page("by provider", rows, __file__, is_whole=len(MEASURED) == len(CELLS), at=1)
