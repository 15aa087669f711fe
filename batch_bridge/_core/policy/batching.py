"""How a flush becomes batches: grouped, then split by what one batch may hold. Pure."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from batch_bridge._core.models import CachedPrefix, Intent, Limits, SubmittedBatch


class Waiting(NamedTuple):
    """A queued request without its item.

    `bytes` is its share of a batch's input; `key` is what its answer is known by (see `_sharing`), where that is asked;
    `deadline` is its own, where it has one; `tenant` is whose it is, where there are several; `thread` is who waits.
    `late_at` is when it leaves the lane that it waits for; those of one `kind` may share a batch.
    `barred` are lanes that it does not go to: they refuse it, or it has left them.
    `prefix` is how its prompt begins, where it waits until that is in the provider's cache.
    """

    id: str
    group: str
    bytes: int
    queued_at: datetime
    key: str = ""
    deadline: timedelta | None = None
    tenant: str = ""
    thread: str = ""
    late_at: datetime | None = None
    kind: object = None
    prefix: CachedPrefix | None = None
    barred: tuple[str, ...] = ()


def cap(limits: Limits, max_requests: int, max_bytes: int | None) -> Limits:
    """Return the smaller of a provider's limits and a flush policy's."""
    return Limits(
        requests=min(max_requests, limits.requests or max_requests),
        bytes=min((b for b in (limits.bytes, max_bytes) if b is not None), default=None),
    )


def split(waiting: Iterable[Waiting], limits: Limits, *, shared: bool = False) -> Iterator[tuple[Waiting, ...]]:
    """Yield batches that mix no groups and no deadlines, and keep to the limits; order is kept within a batch's kind.

    With `shared`, requests of one key are one line: they stand together, where the first of them does, and count once.

    A request larger than `limits.bytes` gets a batch of its own (the provider's limit was met before, at intake;
    a policy's `max_bytes` is a wish).
    """
    if not shared:
        yield from _split_alone(waiting, limits)
        return
    groups: dict[tuple[str, object], dict[str, list[Waiting]]] = {}
    for request in waiting:
        line = request.key or f":{request.id}"
        groups.setdefault((request.group, request.kind), {}).setdefault(line, []).append(request)
    for lines in groups.values():
        batch: list[Waiting] = []
        count = size = 0
        for equal in lines.values():
            too_many = limits.requests is not None and count >= limits.requests
            too_big = limits.bytes is not None and size + equal[0].bytes > limits.bytes
            if batch and (too_many or too_big):
                yield tuple(batch)
                batch, count, size = [], 0, 0
            batch += equal
            count += 1
            size += equal[0].bytes
        if batch:
            yield tuple(batch)


def _split_alone(waiting: Iterable[Waiting], limits: Limits) -> Iterator[tuple[Waiting, ...]]:
    """Do what `split` does where each request is a line of its own."""
    groups: dict[tuple[str, object], list[Waiting]] = {}
    for request in waiting:
        kind = request.group, request.kind
        if kind in groups:
            groups[kind].append(request)
        else:
            groups[kind] = [request]
    most, room = limits.requests, limits.bytes
    for requests in groups.values():
        start = size = 0
        for place, request in enumerate(requests):
            is_full = (most is not None and place - start >= most) or (room is not None and size + request.bytes > room)
            if is_full and place > start:
                yield tuple(requests[start:place])
                start, size = place, 0
            size += request.bytes
        yield tuple(requests[start:])


def lines(batch: Intent | SubmittedBatch) -> dict[str, tuple[str, ...]]:
    """Return the requests that a batch sends, in order, each with the requests that its answer is for, itself first."""
    if not batch.shared:
        return {request_id: (request_id,) for request_id in batch.requests}
    equal: dict[str, list[str]] = {}
    for request_id, key in zip(batch.requests, batch.keys, strict=True):
        equal.setdefault(key or f":{request_id}", []).append(request_id)
    return {requests[0]: tuple(requests) for requests in equal.values()}


def batch_key(bridge: str, requests: Iterable[Waiting], attempts: Callable[[str], int] | None = None) -> str:
    """Derive a batch's key from its requests, from when each was queued, and from how often it was sent before.

    So two ticks that race make the same key, and so does a batch that is sent again because its first try is known to
    have failed. Requests that have ended and are asked again under their old ids make another key, and so do requests
    that are sent again after their batch has ended: the batch under the old key is not theirs.
    """
    pieces, at, written = [bridge], None, ""
    for request in requests:
        if request.queued_at is not at:
            at = request.queued_at
            written = f"{at.timestamp():.6f}"
        pieces += (request.id, written)
        if attempts is not None and (times := attempts(request.id)):
            pieces.append(str(times))
    digest = hashlib.blake2b("\0".join(pieces).encode(), digest_size=16, person=b"batch-bridge")
    return f"bb-{digest.hexdigest()}"
