"""How a flush becomes batches: grouped, then split by what one batch may hold. Pure."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from batch_bridge._models import Limits


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued request without its item. `bytes` is its share of a batch's input."""

    id: str
    group: str
    bytes: int
    queued_at: datetime


def cap(limits: Limits, max_requests: int, max_bytes: int | None) -> Limits:
    """Return the smaller of a provider's limits and a flush policy's."""
    return Limits(
        requests=min(max_requests, limits.requests or max_requests),
        bytes=min((b for b in (limits.bytes, max_bytes) if b is not None), default=None),
    )


def split(waiting: Iterable[Waiting], limits: Limits) -> Iterator[tuple[Waiting, ...]]:
    """Yield batches that mix no groups and keep to the limits; order is kept within a group.

    A request larger than `limits.bytes` gets a batch of its own (the provider's limit was met before, at intake;
    a policy's `max_bytes` is a wish).
    """
    groups: dict[str, list[Waiting]] = {}
    for request in waiting:
        groups.setdefault(request.group, []).append(request)
    for members in groups.values():
        batch: list[Waiting] = []
        size = 0
        for request in members:
            too_many = limits.requests is not None and len(batch) >= limits.requests
            too_big = limits.bytes is not None and size + request.bytes > limits.bytes
            if batch and (too_many or too_big):
                yield tuple(batch)
                batch, size = [], 0
            batch.append(request)
            size += request.bytes
        if batch:
            yield tuple(batch)


def batch_key(bridge: str, members: Iterable[str]) -> str:
    """Derive a batch's key from its members, so that two ticks that race make the same key."""
    digest = hashlib.blake2b(digest_size=16, person=b"batch-bridge")
    digest.update(bridge.encode())
    for member in members:
        digest.update(b"\0")
        digest.update(member.encode())
    return f"bb-{digest.hexdigest()}"
