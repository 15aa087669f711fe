"""The texts of notices: names, counts and money, and no word of a prompt, an answer or an error's text. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from batch_bridge._core.models import Closed
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._money import Cost

_MOST_CODES: Final = 5
_LONGEST_NAME: Final = 100


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice.

    Attributes:
        key: What it is about; the same key again is the same thing, as it is by then.
        what: Its state. The same thing causes another notice only if its state differs.
        title: Its first line.
        body: The rest.
    """

    key: str
    what: str
    title: str
    body: str


def of_run(run_id: str, *, done: int, failures: Mapping[str, int], cost: Cost, file: str) -> Notice:
    """Return the notice of a run that has ended.

    Args:
        run_id: The run; empty if it has no name.
        done: Threads that have ended well.
        failures: Threads that have failed, by code.
        cost: The run's receipt.
        file: Where to look; empty if nowhere.
    """
    failed = sum(failures.values())
    title = f"{_named('run', run_id)} has ended{_of(failed, done + failed, 'threads')}"
    lines = [f"{done:,} of {done + failed:,} threads done", *_failed(failures), str(cost), *look(file)]
    return Notice(f"run:{run_id}", f"ended {done} {sorted(failures.items())}", title, "\n".join(lines))


def of_stop(run_id: str, error: BaseException, *, done: int, cost: Cost, file: str) -> Notice:
    """Return the notice of a run that ended with an error outside of its threads."""
    kind = type(error).__name__
    title = f"{_named('run', run_id)} was stopped by {kind}"
    lines = [f"{done:,} threads had ended", str(cost), "The log says more; the same command continues.", *look(file)]
    return Notice(f"run:{run_id}", f"stopped {done} {kind}", title, "\n".join(lines))


def of_batch(bridge: str, batch: Closed, cost: Cost) -> Notice:
    """Return the notice of a batch that has ended."""
    failed = sum(count for kind, count in batch.outcomes.items() if kind != "succeeded")
    counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(batch.outcomes.items(), key=lambda each: -each[1]))
    again = f"; {batch.resubmitted:,} are sent again" if batch.resubmitted else ""
    lines = [
        f"{batch.requests:,} requests: {counts or 'none has ended'}{again}",
        *_failed({code: count for (_, code, _, _), count in batch.failures.items()}),
        str(cost),
        f"The provider's name for it: {_logged.handle(batch.handle)}",
    ]
    title = f"a batch of {bridge!r} has ended{_of(failed, batch.requests, 'requests')}"
    return Notice(f"batch:{bridge}:{batch.key}", "ended", title, "\n".join(lines))


def of_job(handle: str, outcomes: Mapping[str, int], cost: Cost, file: str) -> Notice:
    """Return the notice of a job that has ended."""
    total = sum(outcomes.values())
    title = f"{handle} has ended{_of(total - outcomes.get('succeeded', 0), total, 'requests')}"
    counts = ", ".join(f"{count:,} {kind}" for kind, count in outcomes.items())
    lines = [f"{total:,} requests: {counts}", str(cost), *look(file)]
    return Notice(f"job:{handle}", "ended", title, "\n".join(lines))


def _of(failed: int, total: int, what: str) -> str:
    return f": {failed:,} of {total:,} {what} failed" if failed else ""


def _named(what: str, name: str) -> str:
    return f"{what} {name[:_LONGEST_NAME]!r}" if name else f"a {what}"


def _failed(failures: Mapping[str, int]) -> list[str]:
    if not failures:
        return []
    most = sorted(failures.items(), key=lambda each: -each[1])[:_MOST_CODES]
    return ["failed: " + ", ".join(f"{count:,} {_logged.handle(code)}" for code, count in most)]


def look(file: str) -> list[str]:
    """Return the line that says where to look, if any."""
    return [f"batch-bridge status {file}"] if file else []
