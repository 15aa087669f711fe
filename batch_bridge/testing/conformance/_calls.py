"""Behaviours of lanes in which each request is a call, or a response, of its own."""

from batch_bridge._core.models import Errored, Succeeded
from batch_bridge.testing.conformance._behaviour import expect
from batch_bridge.testing.conformance._bench import Bench
from batch_bridge.testing.conformance._drive import Drive
from batch_bridge.testing.conformance._plain import own

_FEW = 4


async def refused(bench: Bench) -> None:
    """The tier has no room for some calls: they are made again, and nothing is paid twice."""
    with bench.subject.faults(next_flex_refusal=2):
        own(bench, await bench.ask(bench.asked(_FEW)))
    stats = bench.subject.stats
    expect((stats.flex, stats.realtime) == (_FEW, _FEW), f"{stats.realtime} calls were paid, {stats.flex} in the tier")


async def repeated(bench: Bench) -> None:
    """A call is answered with 500, and is made again."""
    with bench.subject.faults(next_realtime_error=1):
        own(bench, await bench.ask(bench.asked(_FEW)))
    expect(bench.paid == _FEW, f"{bench.paid} calls were paid for {_FEW} requests")


async def failed_call(bench: Bench) -> None:
    """A call is answered with 400: its request fails, and says why; its neighbours have their answers."""
    with bench.subject.faults(next_realtime_error=1, realtime_error_status=400):
        outcomes = await bench.ask(bench.asked(_FEW))
    errors = [each for each in outcomes if isinstance(each, Errored)]
    expect(len(errors) == 1, f"one call was refused, and the outcomes are {outcomes!r}")
    expect((errors[0].status_code, errors[0].retryable) == (400, False), f"a call answered with 400 became {errors!r}")
    expect(bench.paid == _FEW - 1, f"{bench.paid} calls were paid")


async def interrupted(bench: Bench) -> None:
    """The process that took the requests in dies: the next one says so, and calls nothing by itself."""
    drive = await bench.drive(asked := bench.asked(_FEW))
    await drive.tick()
    outcomes = await (await Drive(bench.another(), store=drive.store).start(asked)).settle(asked)
    for number, each in enumerate(outcomes):
        is_own = isinstance(each, Succeeded) and bench.subject.answers(number, each.answer)
        is_said = isinstance(each, Errored) and each.code == "realtime_interrupted" and each.retryable
        expect(is_own or is_said, f"question {number} ended as {each!r}")
    expect(bench.paid <= _FEW, f"{bench.paid} calls were paid for {_FEW} requests")


async def failed_response(bench: Bench) -> None:
    """A response ends as failed, and is not billed: its request fails, and may be sent again."""
    with bench.subject.faults(response_failure=1.0):
        outcomes = await bench.ask(bench.asked(2))
    expect(
        all(isinstance(each, Errored) and each.retryable and each.code == "server_error" for each in outcomes),
        f"the responses failed for now, and the outcomes are {outcomes!r}",
    )
    expect(bench.paid == 0, f"{bench.paid} responses that failed were paid")
