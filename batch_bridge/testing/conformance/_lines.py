"""Behaviours where single lines of a batch's results are not as they should be."""

from collections.abc import Sequence

from batch_bridge._core.models import Errored, Outcome, Succeeded
from batch_bridge.testing.conformance._behaviour import expect
from batch_bridge.testing.conformance._bench import Bench
from batch_bridge.testing.conformance._plain import own

_MANY = 40
_RETRYABLE = {400: False, 429: True, 500: True}


def some(bench: Bench, outcomes: Sequence[Outcome]) -> list[Errored]:
    """Expect that some questions have their own answers and the others errors, and return those."""
    errors: list[Errored] = []
    for n, outcome in enumerate(outcomes):
        if isinstance(outcome, Errored):
            errors.append(outcome)
            continue
        expect(isinstance(outcome, Succeeded), f"question {n} ended as {outcome!r}")
        answers = isinstance(outcome, Succeeded) and bench.subject.answers(n, outcome.answer)
        expect(answers, f"question {n} got another one's answer: {outcome!r}")
    expect(0 < len(errors) < len(outcomes), f"{len(errors)} of {len(outcomes)} lines failed; the fault hit not some")
    return errors


async def failed(bench: Bench) -> None:
    """Some lines are answered with 400, 429 and 500."""
    for status, retryable in _RETRYABLE.items():
        with bench.subject.faults(line_failure=0.4, line_failure_status=status):
            errors = some(bench, await bench.ask(bench.asked(_MANY)))
        for error in errors:
            expect(error.status_code == status, f"a line that failed with {status} became {error!r}")
            expect(error.retryable is retryable, f"a line that failed with {status} became {error!r}")
            expect(bool(error.message and error.code), f"{error!r} does not say what happened")
    stats = bench.subject.stats
    expect(stats.paid_twice == 0, f"{stats.paid_twice} requests were paid twice")


async def missing(bench: Bench) -> None:
    """Some lines are not there, or none is."""
    with bench.subject.faults(missing_line=0.4):
        errors = some(bench, await bench.ask(bench.asked(_MANY)))
    with bench.subject.faults(missing_line=1.0):
        outcomes = await bench.ask(bench.asked(3))
    errors += [each for each in outcomes if isinstance(each, Errored)]
    expect(all(isinstance(each, Errored) for each in outcomes), f"no line was there, and the outcomes are {outcomes!r}")
    codes = {each.code for each in errors}
    expect(codes == {"missing_result"}, f"requests without a line have the codes {codes}")


async def strange(bench: Bench) -> None:
    """Some lines appear twice, and some belong to requests that do not exist."""
    with bench.subject.faults(doubled_line=0.4, unknown_line=0.4):
        own(bench, await bench.ask(bench.asked(_MANY)))


async def garbled(bench: Bench) -> None:
    """Some lines are cut in the middle."""
    with bench.subject.faults(garbled_line=0.4):
        some(bench, await bench.ask(bench.asked(_MANY)))


async def dirty(bench: Bench) -> None:
    """Some lines hold what strict JSON refuses: their answers were paid for, and are read."""
    with bench.subject.faults(dirty_line=0.4):
        own(bench, await bench.ask(bench.asked(_MANY)))
    expect(bench.subject.stats.faults.get("dirty_line", 0) > 0, "no line was dirty")


async def error_answers(bench: Bench) -> None:
    """Some lines have a status of 200, and an error in place of an answer: they fail, and say why."""
    with bench.subject.faults(error_answer=0.4):
        errors = some(bench, await bench.ask(bench.asked(_MANY)))
    wordless = [each for each in errors if "error with status 200" not in each.message]
    expect(not wordless, f"these do not say what the provider said: {wordless!r}")


async def unrun(bench: Bench) -> None:
    """Some lines never ran, and say so with a code of their own: they may be sent again."""
    for code in ("request_timeout", "server_error"):
        with bench.subject.faults(unrun_line=0.4, unrun_line_code=code):
            errors = some(bench, await bench.ask(bench.asked(_MANY)))
        expect(all(each.retryable for each in errors), f"lines that never ran ({code}) became {errors!r}")


async def wrapped(bench: Bench) -> None:
    """Some lines failed, and their error stands inside another one: what it says is read."""
    with bench.subject.faults(line_failure=0.4, line_failure_status=400, wrapped_error=1.0):
        errors = some(bench, await bench.ask(bench.asked(_MANY)))
    wordless = [each for each in errors if "failed with 400" not in each.message]
    expect(not wordless, f"these do not say what the provider said: {wordless!r}")


async def cut(bench: Bench) -> None:
    """The connection ends half way through the results, twice."""
    with bench.subject.faults(next_cut_download=2):
        own(bench, await bench.ask(bench.asked(_MANY)))
    stats = bench.subject.stats
    expect((stats.paid, stats.batches) == (_MANY, 1), f"{stats.paid} lines were paid in {stats.batches} batches")


async def gone(bench: Bench) -> None:
    """The results are no longer readable; no request waits for them forever."""
    with bench.subject.faults(output_missing=1.0):
        outcomes = await bench.ask(bench.asked(5))
    expect(all(isinstance(each, Errored) for each in outcomes), f"the results are gone, and the outcomes {outcomes!r}")
    expect(bench.subject.stats.batches == 1, "what was paid for and lost is not sent again by itself")
