"""Who writes a prompt's beginning into the provider's cache, and who waits for that. Pure.

A provider keeps what one request has written for those that come later, and seldom for those of the same batch. So one
request of each prefix goes first, and the others follow once it is answered.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from batch_bridge._core.policy.batching import Waiting


@dataclass(frozen=True, slots=True)
class Priming:
    """What becomes of requests that are due. Each is in one of the three, in the order that they came in.

    Attributes:
        first: They write the prefixes, and are sent in batches of their own.
        rest: They are sent now: they have no prefix, are alone with it, or find it in the cache.
        held: They wait for those that write their prefixes.
    """

    first: Sequence[Waiting]
    rest: Sequence[Waiting]
    held: Sequence[Waiting]


def plan(
    due: Iterable[Waiting],
    *,
    writing: Container[str],
    written: Mapping[str, datetime],
    now: datetime,
    shared: bool = False,
) -> Priming:
    """Divide the requests that are due.

    Args:
        due: In the order of their turns.
        writing: Keys of the prefixes that batches on their way write.
        written: When prefixes were written, by their keys.
        now: The time.
        shared: Requests of one `key` are one line of a batch, and are not divided.
    """
    first: list[Waiting] = []
    rest: list[Waiting] = []
    held: list[Waiting] = []
    due = list(due)
    leaders = _leaders(due, shared=shared)
    for each in due:
        prefix = each.prefix
        at = None if prefix is None else written.get(prefix.key)
        if prefix is None or (at is not None and at <= now < at + prefix.lasts):
            rest.append(each)
        elif prefix.key in writing:
            held.append(each)
        elif (leader := leaders[prefix.key]) is None:
            rest.append(each)
        else:
            (first if leader == _line(each, shared=shared) else held).append(each)
    return Priming(first, rest, held)


def _leaders(due: Iterable[Waiting], *, shared: bool) -> dict[str, str | None]:
    """Return the line that comes first of each prefix; `None` where no other line begins so."""
    lines: dict[str, dict[str, None]] = {}
    for each in due:
        if each.prefix is not None:
            lines.setdefault(each.prefix.key, {})[_line(each, shared=shared)] = None
    return {key: next(iter(of)) if len(of) > 1 else None for key, of in lines.items()}


def _line(waiting: Waiting, *, shared: bool) -> str:
    return waiting.key if shared and waiting.key else f":{waiting.id}"
