"""Behaviours where single lines of a batch's results are not as they should be."""

from collections.abc import Sequence

from batch_bridge._models import Errored, Outcome, Succeeded
from batch_bridge.testing.conformance._behaviour import expect
from batch_bridge.testing.conformance._desk import Desk
from batch_bridge.testing.conformance._plain import own

_MANY = 40
_RETRYABLE = {400: False, 429: True, 500: True}


def some(desk: Desk, outcomes: Sequence[Outcome]) -> list[Errored]:
    """Expect that some questions have their own answers and the others errors, and return those."""
    errors: list[Errored] = []
    for n, outcome in enumerate(outcomes):
        if isinstance(outcome, Errored):
            errors.append(outcome)
            continue
        expect(isinstance(outcome, Succeeded), f"question {n} ended as {outcome!r}")
        answers = isinstance(outcome, Succeeded) and desk.subject.answers(n, outcome.answer)
        expect(answers, f"question {n} got another one's answer: {outcome!r}")
    expect(0 < len(errors) < len(outcomes), f"{len(errors)} of {len(outcomes)} lines failed; the fault hit not some")
    return errors


async def failed(desk: Desk) -> None:
    """Some lines are answered with 400, 429 and 500."""
    for status, retryable in _RETRYABLE.items():
        with desk.subject.faults(line_failure=0.4, line_failure_status=status):
            errors = some(desk, await desk.ask(desk.asked(_MANY)))
        for error in errors:
            expect(error.status_code == status, f"a line that failed with {status} became {error!r}")
            expect(error.retryable is retryable, f"a line that failed with {status} became {error!r}")
            expect(bool(error.message and error.code), f"{error!r} does not say what happened")
    stats = desk.subject.stats
    expect(stats.paid_twice == 0, f"{stats.paid_twice} requests were paid twice")


async def missing(desk: Desk) -> None:
    """Some lines are not there, or none is."""
    with desk.subject.faults(missing_line=0.4):
        errors = some(desk, await desk.ask(desk.asked(_MANY)))
    with desk.subject.faults(missing_line=1.0):
        outcomes = await desk.ask(desk.asked(3))
    errors += [each for each in outcomes if isinstance(each, Errored)]
    expect(all(isinstance(each, Errored) for each in outcomes), f"no line was there, and the outcomes are {outcomes!r}")
    codes = {each.code for each in errors}
    expect(codes == {"missing_result"}, f"requests without a line have the codes {codes}")


async def strange(desk: Desk) -> None:
    """Some lines are there twice, and some are of requests that nobody has made."""
    with desk.subject.faults(doubled_line=0.4, unknown_line=0.4):
        own(desk, await desk.ask(desk.asked(_MANY)))


async def garbled(desk: Desk) -> None:
    """Some lines are cut in the middle."""
    with desk.subject.faults(garbled_line=0.4):
        some(desk, await desk.ask(desk.asked(_MANY)))


async def dirty(desk: Desk) -> None:
    """Some lines hold what strict JSON refuses: their answers were paid for, and are read."""
    with desk.subject.faults(dirty_line=0.4):
        own(desk, await desk.ask(desk.asked(_MANY)))
    expect(desk.subject.stats.faults.get("dirty_line", 0) > 0, "no line was dirty")


async def error_answers(desk: Desk) -> None:
    """Some lines have a status of 200, and an error in place of an answer: they fail, and say why."""
    with desk.subject.faults(error_answer=0.4):
        errors = some(desk, await desk.ask(desk.asked(_MANY)))
    wordless = [each for each in errors if "error with status 200" not in each.message]
    expect(not wordless, f"these do not say what the provider said: {wordless!r}")


async def unrun(desk: Desk) -> None:
    """Some lines never ran, and say so with a code of their own: they may be sent again."""
    for code in ("request_timeout", "server_error"):
        with desk.subject.faults(unrun_line=0.4, unrun_line_code=code):
            errors = some(desk, await desk.ask(desk.asked(_MANY)))
        expect(all(each.retryable for each in errors), f"lines that never ran ({code}) became {errors!r}")


async def wrapped(desk: Desk) -> None:
    """Some lines failed, and their error stands inside another one: what it says is read."""
    with desk.subject.faults(line_failure=0.4, line_failure_status=400, wrapped_error=1.0):
        errors = some(desk, await desk.ask(desk.asked(_MANY)))
    wordless = [each for each in errors if "failed with 400" not in each.message]
    expect(not wordless, f"these do not say what the provider said: {wordless!r}")


async def cut(desk: Desk) -> None:
    """The connection ends half way through the results, twice."""
    with desk.subject.faults(next_cut_download=2):
        own(desk, await desk.ask(desk.asked(_MANY)))
    stats = desk.subject.stats
    expect((stats.paid, stats.batches) == (_MANY, 1), f"{stats.paid} lines were paid in {stats.batches} batches")


async def gone(desk: Desk) -> None:
    """The results cannot be read any more; nobody waits for them for ever."""
    with desk.subject.faults(output_missing=1.0):
        outcomes = await desk.ask(desk.asked(5))
    expect(all(isinstance(each, Errored) for each in outcomes), f"the results are gone, and the outcomes {outcomes!r}")
    expect(desk.subject.stats.batches == 1, "what was paid for and lost is not sent again by itself")
