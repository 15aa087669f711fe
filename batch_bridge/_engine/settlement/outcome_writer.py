"""How an ended batch is settled: every one of its requests gets exactly one outcome, whatever the provider said."""

from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TypeAlias

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import Attempt, Ended, FailureKind, Intent, Outcome, SubmittedBatch, Succeeded
from batch_bridge._core.policy.resubmission import Resubmission
from batch_bridge._core.policy.resubmission import final as with_attempts
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._ledger.ledger import Ledger

logger = logger_of(__name__)

IdAndOutcome: TypeAlias = tuple[str, Outcome]
Seen: TypeAlias = Callable[[Iterable[IdAndOutcome]], None]
Rescue: TypeAlias = Callable[[Collection[str]], Awaitable[Collection[str]]]


class ReadError(Exception):
    """The provider failed while its outcomes were read. What was read is settled.

    Attributes:
        error: What the provider has raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


async def settle(
    ledger: Ledger,
    batch: Intent | SubmittedBatch,
    ended: Ended,
    *,
    inherited: bool,
    settled: Mapping[str, str] | None = None,
    again: Resubmission | None = None,
    failures: Counter[FailureKind] | None = None,
    seen: Seen | None = None,
    ended_as: Callable[[Mapping[str, Outcome]], None] | None = None,
    rescue: Rescue | None = None,
) -> Counter[str]:
    """Write one outcome for each request of a batch, and return how many there are of each kind.

    The first outcome of a request counts. Second ones, and those of requests that the batch does not hold, are
    logged and put aside; requests without one get `ended.missing`. Done twice, it changes nothing: with `inherited`
    the ledger is asked what a process before this one has written. `settled` are requests that this process has
    settled before the batch ended, with the kinds of their outcomes: they are counted, and not written again.
    Those that `again` chooses get no outcome, and are not counted: what they ended with this time is noted.
    `failures` is given those of the outcomes that it writes.
    `ended_as` is told of the outcomes that stand, once they are written.
    `seen` is told of the outcomes as they are read, from the provider or the ledger, also of those that are put aside.
    `rescue` settles requests that are about to fail, if it can, with answers from elsewhere, and returns which.

    Raises:
        ReadError: The provider broke off; the batch must be polled again.
    """
    settled = settled or {}
    missing = set(batch.requests).difference(settled)
    kinds: Counter[str] = Counter(settled.values())
    strange = 0
    write = partial(
        _write,
        ledger,
        kinds,
        failures,
        inherited=inherited,
        again=again,
        seen=seen,
        ended_as=ended_as,
        rescue=rescue,
    )
    async for chunk in chunks(ended.outcomes, ledger.chunk):
        if seen is not None:
            seen(chunk)
        fresh: dict[str, Outcome] = dict(chunk)
        if len(fresh) == len(chunk) and fresh.keys() <= missing:
            missing.difference_update(fresh)
        else:
            fresh = {}
            for request_id, outcome in chunk:
                if request_id in missing:
                    missing.discard(request_id)
                    fresh[request_id] = outcome
                elif request_id not in settled:
                    strange += 1
        await write(fresh)
    if strange:
        logger.warning(
            "batch %s: set aside %d results that are duplicates or belong to no request of the batch",
            batch.key,
            strange,
            extra=about(batch=batch.key),
        )
    rest = [each for each in batch.requests if each in missing] if missing else []
    for start in range(0, len(rest), ledger.chunk):
        unnamed = dict.fromkeys(rest[start : start + ledger.chunk], ended.missing)
        await write(unnamed)
    return kinds


async def settle_early(ledger: Ledger, outcomes: Mapping[str, Outcome], *, inherited: bool) -> dict[str, str]:
    """Write outcomes of a batch that has not ended, and return their kinds. With `inherited` as in `settle`."""
    known = await ledger.outcomes(tuple(outcomes)) if inherited else {}
    counting = {**outcomes, **known}
    await ledger.settle(counting)
    return {request_id: _outcome.kind(outcome) for request_id, outcome in counting.items()}


async def chunks(outcomes: AsyncIterable[IdAndOutcome], most: int) -> AsyncIterator[list[IdAndOutcome]]:
    """Yield outcomes so many at once: that is what is held in memory of a batch's answers.

    Raises:
        ReadError: The provider broke off; what it gave before is yielded first.
    """
    chunk: list[IdAndOutcome] = []
    try:
        if isinstance(outcomes, _outcome.Chunks):
            async for pairs in outcomes.chunks:
                chunk += pairs
                if len(chunk) >= most:
                    yield chunk
                    chunk = []
        else:
            async for pair in outcomes:
                chunk.append(pair)
                if len(chunk) == most:
                    yield chunk
                    chunk = []
    except Exception as error:
        yield chunk  # paid for, and perhaps not to be read a second time
        raise ReadError(error) from error
    yield chunk


async def _write(
    ledger: Ledger,
    kinds: Counter[str],
    failures: Counter[FailureKind] | None,
    fresh: dict[str, Outcome],
    *,
    inherited: bool,
    again: Resubmission | None,
    seen: Seen | None,
    ended_as: Callable[[Mapping[str, Outcome]], None] | None,
    rescue: Rescue | None,
) -> None:
    known = await ledger.outcomes(tuple(fresh)) if inherited else {}
    if not known and _outcome.are_answers(fresh.values()):  # none is sent again
        await ledger.settle(fresh)
        if ended_as is not None:
            ended_as(fresh)
        kinds.update({"succeeded": len(fresh)} if fresh else {})
        return
    await _rescue(fresh, known, kinds, rescue)
    final: dict[str, Outcome] = {}
    tried: dict[str, Attempt] = {}
    for request_id, outcome in fresh.items():
        if request_id in known:
            final[request_id] = known[request_id]
            if seen is not None:
                seen(((request_id, known[request_id]),))
        elif again is None:
            final[request_id] = outcome
        elif (attempt := again.judge(request_id, outcome, ledger.attempts(request_id))) is not None:
            tried[request_id] = attempt
        else:
            final[request_id] = with_attempts(outcome, ledger.attempts(request_id), again.batch)
    await ledger.tried(tried)
    await ledger.settle(final)
    if ended_as is not None:
        ended_as(final)
    kinds.update(map(_outcome.kind, final.values()))
    if failures is not None:
        failures.update(_outcome.failures_of(final.values()))


async def _rescue(
    fresh: dict[str, Outcome], known: Mapping[str, Outcome], kinds: Counter[str], rescue: Rescue | None
) -> None:
    """Take out of a batch's outcomes those of requests that have answers from elsewhere."""
    if rescue is None:
        return
    failing = [each for each, outcome in fresh.items() if each not in known and not isinstance(outcome, Succeeded)]
    for request_id in await rescue(failing):
        del fresh[request_id]
        kinds["succeeded"] += 1
