"""Behaviours about how a batch ends, and what polls meet until then."""

from batch_bridge._core.models import JSON, Cancelled, Ended, Errored, Expired, SubmittedBatch, Succeeded
from batch_bridge.testing.conformance._behaviour import Nonconforming, expect, until
from batch_bridge.testing.conformance._bench import Bench
from batch_bridge.testing.conformance._drive import Drive
from batch_bridge.testing.conformance._plain import own

_LONG = 60.0
_SHORT = 0.5


async def handles_of(drive: Drive) -> list[JSON]:
    """Return the handles of what is in flight."""
    batches = await drive.ledger.open_batches()
    return [each.handle for each in batches if isinstance(each, SubmittedBatch)]


async def handle_of(drive: Drive) -> JSON:
    """Return the handle of the one batch that is in flight."""
    batches = await drive.ledger.open_batches()
    if len(batches) != 1 or not isinstance(batches[0], SubmittedBatch):
        raise Nonconforming(f"one batch should be in flight; the ledger has {batches!r}")
    return batches[0].handle


async def expired(bench: Bench) -> None:
    """The window closes when half of the requests have run."""
    with bench.subject.faults(expiry=1.0, expiry_share=0.5):
        outcomes = await bench.ask(bench.asked(20))
    done = [each for each in outcomes if isinstance(each, Succeeded)]
    late = [each for each in outcomes if isinstance(each, Expired)]
    expect((len(done), len(late)) == (10, 10), f"{len(done)} answers and {len(late)} expired, of 10 and 10")
    answers = (bench.subject.answers(n, o.answer) for n, o in enumerate(outcomes) if isinstance(o, Succeeded))
    expect(all(answers), "a request got another one's answer")


async def failed(bench: Bench) -> None:
    """The whole batch fails, and nothing has run."""
    with bench.subject.faults(batch_failure=1.0):
        outcomes = await bench.ask(bench.asked(3))
    codes = {each.code for each in outcomes if isinstance(each, Errored)}
    expect(all(isinstance(each, Errored) for each in outcomes), f"the batch failed, and the outcomes are {outcomes!r}")
    expect(len(codes) == 1, f"the requests of one failed batch have the codes {codes}")


async def cancelled(bench: Bench) -> None:
    """A batch of which nothing has run is cancelled, twice."""
    with bench.subject.faults(latency=_LONG, response_seconds=_LONG):
        drive = await bench.drive(asked := bench.asked(5))
        await drive.tick()
        handles = await handles_of(drive)
        for handle in (*handles, *handles):
            await bench.provider.cancel(handle)
        outcomes = await drive.settle(asked)
        for handle in handles:
            await bench.provider.cancel(handle)
    expect(len(handles) == bench.batches(len(asked)), f"{len(handles)} batches were in flight")
    expect(all(isinstance(each, Cancelled) for each in outcomes), f"the outcomes are {outcomes!r}")
    expect(bench.subject.stats.paid == 0, "a request that was cancelled before it ran was paid")


async def cancelled_half_way(bench: Bench) -> None:
    """A batch is cancelled while its requests run; what was paid for is answered."""
    with bench.subject.faults(latency=1.0, cancel_seconds=0.2):
        drive = await bench.drive(asked := bench.asked(30))
        await drive.tick()
        handle = await handle_of(drive)
        await until(lambda: bench.subject.stats.paid > 0, "no request has run")
        await bench.provider.cancel(handle)
        outcomes = await drive.settle(asked)
    done = {n: each.answer for n, each in enumerate(outcomes) if isinstance(each, Succeeded)}
    rest = [each for each in outcomes if isinstance(each, Cancelled)]
    expect(len(done) + len(rest) == len(outcomes), f"the outcomes are {outcomes!r}")
    expect(len(done) == (paid := bench.subject.stats.paid), f"{paid} requests were paid, and {len(done)} answered")
    expect(all(bench.subject.answers(n, answer) for n, answer in done.items()), "a request got another one's answer")


async def late_results(bench: Bench) -> None:
    """The batch has ended, and for a moment it names no results and counts nothing: they are waited for."""
    with bench.subject.faults(files_after=_SHORT):
        own(bench, await bench.ask(bench.asked(3)))
    expect(bench.subject.stats.batches == 1, "results that were late must not send anything again")


async def unknown_status(bench: Bench) -> None:
    """An unknown status counts as one of a batch that is still running."""
    with bench.subject.faults(unknown_status=1.0, latency=_SHORT):
        own(bench, await bench.ask(bench.asked(2)))


async def stuck(bench: Bench) -> None:
    """A batch hangs at 90 %, and continues in the end."""
    with bench.subject.faults(stuck=1.0, stuck_share=0.9):
        drive = await bench.drive(asked := bench.asked(10))
        await drive.tick()
        await until(lambda: bench.subject.stats.paid == 9, "nine of ten requests should run")  # noqa: PLR2004
        reply = await bench.provider.poll(await handle_of(drive), [each.id for each in asked])
        expect(not isinstance(reply, Ended), "a batch that has not ended was taken for one that has")
    own(bench, await drive.settle(asked))


async def forgotten(bench: Bench) -> None:
    """A batch that was there is not there any more: its requests end."""
    with bench.subject.faults(forgotten=1.0, latency=_SHORT):
        outcomes = await bench.ask(bench.asked(3))
    expect(all(isinstance(each, Errored) for each in outcomes), f"the batch is gone, and the outcomes {outcomes!r}")


async def poll_errors(bench: Bench) -> None:
    """Twenty polls in a row are answered with 502."""
    with bench.subject.faults(next_poll_error=20):
        own(bench, await bench.ask(bench.asked(4)))
    expect(bench.made == bench.batches(4), "a poll that failed must not send anything again")
