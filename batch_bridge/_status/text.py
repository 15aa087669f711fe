"""What is seen of a file, as JSON for programs and as text for people. Begins with whether it is alive."""

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import orjson

from batch_bridge._core.wording.words import span
from batch_bridge._status.models import Batch, Owner, Status, Threads
from batch_bridge.events import Eta, Span

_MOST_BATCHES: Final = 20
_MOST_RUNS: Final = 10


def to_plain(status: Status) -> dict[str, Any]:
    """Return it as JSON: times in ISO 8601, durations in seconds."""
    plain = dataclasses.asdict(status)
    _times(plain, "at", "as_of")
    _times(plain["owner"], "since", "at")
    for name in ("wave", "run"):
        if status.eta is not None and plain["eta"][name] is not None:
            _times(plain["eta"][name], "p50", "p90")
    for run in plain["runs"]:
        _times(run, "begun_at", "ended_at")
    for batch, row in zip(status.batches, plain["batches"], strict=True):
        row["age"] = None if batch.submitted_at is None else (batch.ended_at or status.at) - batch.submitted_at
        row["window_left"] = window_left(batch, status.at)
        _times(row, "submitted_at", "ended_at", "asked_at", "since", "bad_since", "expires_at", "window_until")
    return plain


def to_json(status: Status) -> str:
    """Return it as JSON text."""
    return orjson.dumps(to_plain(status), option=orjson.OPT_INDENT_2).decode()


def to_text(status: Status) -> str:
    """Return it as lines for a person."""
    return "\n".join(_lines(status))


def alive_line(status: Status) -> str:
    """Return whether it is alive, in a line."""
    owner = status.owner
    match owner.alive:
        case True:
            return f"alive: {_process(owner)} has it open" + ("" if owner.since is None else _since(owner, status.at))
        case None:
            return f"not known whether it is alive: {_process(owner)} had it open, and its process cannot be seen here"
        case _ if owner.closed:
            return f"not running: {_process(owner)} has closed it" + _ago(owner.at, status.at)
        case _ if owner.pid is not None:
            return f"dead: {_process(owner)} is gone, and has not closed it" + _ago(owner.at, status.at)
        case _:
            return "not running: no process has it open"


def threads_line(threads: Threads, what: str = "threads") -> str:
    """Return how many threads are where, in a line."""
    total = "?" if threads.total is None else f"{threads.total:,}"
    parts = [f"{count:,} {name}" for name, count in (("running", threads.running), ("parked", threads.parked)) if count]
    if threads.failed:
        parts.append(f"{threads.failed:,} failed")
    done = "?" if threads.done is None else f"{threads.done:,}"
    return f"{done} of {total} {what} done" + "".join(f", {part}" for part in parts)


def cost_line(cost: Mapping[str, Any]) -> str:
    """Return what was paid, in a line; what is not known is a question mark."""
    paid, listed, saved = (_amount(cost[name], cost["currency"]) for name in ("paid", "list_price", "saved"))
    return f"{paid} paid, {listed} at the realtime price, {saved} saved"


def _amount(text: str | None, currency: str) -> str:
    return "?" if text is None else f"{Decimal(text):,.4f} {currency}"


def eta_line(eta: Eta | None, now: float) -> str:
    """Return when it will be done, in a line."""
    if eta is None:
        return "not known when; there is no history of ended batches yet"
    run = "how many waves there are to be is not known yet" if eta.run is None else f"all of it {_within(eta.run, now)}"
    wave = "" if eta.wave is None else f"this wave {_within(eta.wave, now)}; "
    return f"{wave}{run} (by {eta.batches:,} ended batches)"


def eta_short(eta: Eta | None, now: float) -> str:
    """Return when it will be done, in a few words for a bar; empty where that is not known."""
    if eta is None:
        return ""
    if eta.run is not None:
        return f"done in ~{span(eta.run.p50 - now)} (90% {span(eta.run.p90 - now)})"
    return "" if eta.wave is None else f"wave done in ~{span(eta.wave.p50 - now)} (90% {span(eta.wave.p90 - now)})"


def _within(at: Span, now: float) -> str:
    return f"in about {span(at.p50 - now)}, nine times of ten within {span(at.p90 - now)}"


def window_left(batch: Batch, now: float) -> float | None:
    """Return the seconds until the provider gives a batch up; negative if it should have."""
    return None if batch.window_until is None or batch.ended_at is not None else batch.window_until - now


def batch_line(batch: Batch, now: float) -> str:
    """Return how a batch is, in a line."""
    done = "?" if batch.done is None else f"{batch.done:,}"
    where = "" if batch.lane == "batch" else f" ({batch.lane})"
    parts = [f"{batch.state.replace('_', ' ')}{where}", f"{done}/{batch.total:,}"]
    if batch.ended_at is not None and batch.submitted_at is not None:
        parts.append(f"took {span(batch.ended_at - batch.submitted_at)}")
        parts += [f"{count:,} {kind}" for kind, count in batch.outcomes.items() if kind != "succeeded"]
    elif batch.submitted_at is not None:
        parts.append(f"sent {span(now - batch.submitted_at)} ago")
    if (left := window_left(batch, now)) is not None:
        parts.append(f"{span(left)} of its window left" if left > 0 else "past its window")
    if batch.resubmitted:
        parts.append(f"{batch.resubmitted:,} sent again")
    if batch.failures:
        parts.append(f"{batch.failures} looks in a row have failed: {batch.problem}")
    handle = "" if batch.handle is None else f" {batch.handle}"
    return f"{batch.key}{handle}  " + ", ".join(parts)


def _lines(status: Status) -> Iterator[str]:
    yield f"{status.file}: {status.state}; {alive_line(status)}"
    yield from (f"  ! {line}" for line in status.warnings)
    yield from (f"  stuck: {line}" for line in status.stuck)
    if status.paused:
        yield "  paused: nothing is sent until `batch-bridge resume`"
    yield from _thread_lines(status)
    oldest = "" if status.oldest_waiter is None else f"; the oldest waits for {span(status.oldest_waiter)}"
    yield f"  requests: {status.queued:,} queued, {status.in_flight:,} in flight{oldest}"
    if status.outcomes:
        yield "  settled: " + ", ".join(f"{count:,} {kind}" for kind, count in status.outcomes.items())
    if status.cost is not None:
        yield f"  cost: {cost_line(status.cost)}"
    yield from _batch_lines(status)
    yield from _failure_lines(status)
    if status.state in ("running", "parked"):
        yield f"  done: {eta_line(status.eta, status.at)}"


def _thread_lines(status: Status) -> Iterator[str]:
    what = {"batcher": "items", "jobs": "requests"}.get(status.kind, "threads")
    yield f"  {threads_line(status.threads, what)}"
    if len(status.runs) > 1:
        for run in status.runs[-_MOST_RUNS:]:
            yield f"    {run.id or '(without a run_id)'}: {threads_line(run.threads, what)}"
    for wave in status.waves:
        yield f"    wave {wave.step}: {wave.threads:,} threads wait for {wave.requests:,} requests"


def _batch_lines(status: Status) -> Iterator[str]:
    count = sum(batch.state != "ended" for batch in status.batches)
    yield f"  batches: {count:,} open, {status.batches_ended:,} ended"
    for batch in status.batches[:_MOST_BATCHES]:
        yield f"    {batch_line(batch, status.at)}"
    if (more := count + status.batches_ended - _MOST_BATCHES) > 0:
        yield f"    and {more:,} more: --json"


def _failure_lines(status: Status) -> Iterator[str]:
    for failure in status.failures:
        code = failure.code if failure.status_code is None else f"{failure.code} ({failure.status_code})"
        yield f"  failed: {failure.count:,} {failure.of}s, {code}: {failure.rule}"
        if failure.threads:
            yield f"    {', '.join(failure.threads)}{', …' if failure.count > len(failure.threads) else ''}"


def _process(owner: Owner) -> str:
    return f"process {owner.pid or '?'}" + (f" on {owner.host}" if owner.host else "")


def _since(owner: Owner, now: float) -> str:
    return f" for {span(now - (owner.since or now))}, and said{_ago(owner.at, now).removeprefix(',')} how it is"


def _ago(at: float | None, now: float) -> str:
    return "" if at is None else f", {span(now - at)} ago"


def _times(row: dict[str, Any], *names: str) -> None:
    for name in names:
        if row[name] is not None:
            row[name] = datetime.fromtimestamp(row[name], UTC).isoformat(timespec="seconds")
