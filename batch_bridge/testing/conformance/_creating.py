"""Behaviours about the call that pays: repeated never, looked up when its end was not seen."""

import asyncio
import time
from collections.abc import Sequence

from batch_bridge._core.models import JSON, Errored, Intent, Outcome, Request, SubmittedBatch
from batch_bridge._ledger.ledger import Ledger
from batch_bridge.errors import ProviderUnavailable
from batch_bridge.testing.conformance._behaviour import Nonconforming, expect
from batch_bridge.testing.conformance._bench import Bench
from batch_bridge.testing.conformance._drive import BREATH, PATIENCE, Drive
from batch_bridge.testing.conformance._plain import own

_FEW = 4
_LATE = 0.3


class _Crash(BaseException):
    """The process dies here."""


class _DiesPrepared(Ledger):
    """The process dies when all is prepared and nothing was sent."""

    async def prepared(self, intent: Intent) -> None:
        await super().prepared(intent)
        raise _Crash


class _DiesSubmitted(Ledger):
    """The process dies when the batch exists and no ledger has recorded it."""

    async def confirm(self, batch: SubmittedBatch) -> None:  # noqa: ARG002
        raise _Crash


def once(bench: Bench, outcomes: list[Outcome]) -> None:
    """Expect that each question has its own answer, and that each was paid once."""
    own(bench, outcomes)
    stats = bench.subject.stats
    seen, batches = (bench.made, bench.paid, stats.paid_twice), bench.batches(len(outcomes))
    expect(seen == (batches, len(outcomes), 0), f"batches, requests paid and paid twice are {seen}")


async def upload_error(bench: Bench) -> None:
    """What goes before the create fails once."""
    with bench.subject.faults(next_upload_error=1):
        once(bench, await bench.ask(bench.asked(_FEW)))


async def rate_limit(bench: Bench) -> None:
    """A create is answered with 429: nothing happened."""
    with bench.subject.faults(next_create_rate_limit=2, retry_after=7.0):
        once(bench, await bench.ask(bench.asked(_FEW)))


async def unseen_file(bench: Bench) -> None:
    """A create does not find the file that was uploaded a moment ago: nothing happened, and it is repeated."""
    for status in (404, 400):
        with bench.subject.faults(next_unseen_file=2, unseen_file_status=status):
            own(bench, await bench.ask(bench.asked(_FEW)))
    stats = bench.subject.stats
    expect((stats.batches, stats.paid_twice) == (2, 0), f"batches and requests paid twice: {stats!r}")


async def lost(bench: Bench) -> None:
    """The connection breaks when the batch exists: the requests are answered, or end in doubt; never paid twice."""
    with bench.subject.faults(next_drop_create_response=1):
        outcomes = await bench.ask(bench.asked(_FEW))
    doubtful = [each for each in outcomes if isinstance(each, Errored) and each.code == "submission_unknown"]
    if not doubtful:
        own(bench, outcomes)
    batches, twice = bench.batches(len(outcomes)), bench.subject.stats.paid_twice
    expect(len(doubtful) in (0, len(outcomes) // batches), f"the requests of one batch ended as {outcomes!r}")
    expect((bench.made, twice) == (batches, 0), f"{bench.made} batches, {twice} paid twice")


async def adopted(bench: Bench) -> None:
    """The same, of a provider that finds the batch."""
    with bench.subject.faults(next_drop_create_response=1):
        once(bench, await bench.ask(bench.asked(_FEW)))


async def error_after(bench: Bench) -> None:
    """A create is answered with 500, and has taken effect."""
    with bench.subject.faults(next_create_error_after=1):
        once(bench, await bench.ask(bench.asked(_FEW)))


async def error_before(bench: Bench) -> None:
    """A create is answered with 500, and has taken no effect."""
    with bench.subject.faults(next_create_error=1):
        once(bench, await bench.ask(bench.asked(_FEW)))


async def list_error(bench: Bench) -> None:
    """The batch is looked for, and the listing fails."""
    with bench.subject.faults(next_drop_create_response=1, next_list_error=2):
        once(bench, await bench.ask(bench.asked(_FEW)))


async def late(bench: Bench) -> None:
    """A batch that was just created is not to be seen yet."""
    with bench.subject.faults(visible_after=_LATE):
        once(bench, await bench.ask(bench.asked(_FEW)))


async def ghost(bench: Bench) -> None:
    """A create whose answer was lost shows up after the first look: adopted, or it comes to nothing."""
    with bench.subject.faults(visible_after=_LATE, next_drop_create_response=1):
        drive = await bench.drive(asked := bench.asked(_FEW))
        await drive.tick()
    outcomes = await drive.settle(asked)
    own(bench, outcomes)
    await asyncio.sleep(2 * _LATE)  # the ghost walks now
    stats = bench.subject.stats
    expect((stats.paid, stats.paid_twice) == (_FEW, 0), f"{stats.paid} paid, {stats.paid_twice} of them twice")


async def crash_before(bench: Bench) -> None:
    """The process dies when all is prepared and nothing was sent; the next one pays once."""
    asked = bench.asked(_FEW)
    drive = await _crashed(bench, asked, _DiesPrepared)
    once(bench, await (await drive.start(asked)).settle(asked))


async def crash_after(bench: Bench) -> None:
    """The process dies when the batch exists and no ledger has recorded it; the next process adopts it."""
    asked = bench.asked(_FEW)
    drive = await _crashed(bench, asked, _DiesSubmitted)
    once(bench, await (await drive.start(asked)).settle(asked))


async def doubled(bench: Bench) -> None:
    """Two processes have created a batch for one key: both are found, and the engine adopts one of them."""
    asked = bench.asked(_FEW)
    drive = await _crashed(bench, asked, _DiesSubmitted)
    (entry,) = await drive.ledger.open_batches()
    if not isinstance(entry, tuple):
        raise Nonconforming(f"the batch was written down as {entry!r}, though the process had died")
    intent, _ = entry
    await bench.provider.submit(intent.key, asked, intent.prepared)
    found = await _found(drive, intent, 2)
    expect(len(found) == 2, f"two batches were created for one key, and found are {found!r}")  # noqa: PLR2004
    own(bench, await (await drive.start(asked)).settle(asked))
    expect(bench.subject.stats.batches == 2, "a third batch was created")  # noqa: PLR2004


async def _crashed(bench: Bench, asked: Sequence[Request], ledger: type[Ledger]) -> Drive:
    """Submit in a process that dies, and return the one that comes after it."""
    drive = await bench.drive(asked, ledger=ledger)
    try:
        await drive.tick()
    except _Crash:
        return Drive(bench.another(), store=drive.store)
    raise Nonconforming("the engine did not come to where it was to crash")


async def _found(drive: Drive, intent: Intent, count: int) -> Sequence[JSON]:
    """Look for the batches of an intent until there are so many; a provider may have to wait for their end."""
    found: Sequence[JSON] = ()
    deadline = time.monotonic() + PATIENCE
    while len(found) < count and time.monotonic() < deadline:
        try:
            found = await drive.provider.find(intent.key, intent.prepared)
        except ProviderUnavailable:
            await asyncio.sleep(BREATH)
    return found
