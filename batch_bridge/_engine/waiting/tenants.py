"""How much of one tenant may wait at a time. Pure."""

from dataclasses import dataclass, fields
from typing import Final

from batch_bridge._core.models import Errored
from batch_bridge._core.policy.batching import Waiting

OVER: Final = "tenant_limit"
"""The code of a request that is over its tenant's limit."""


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """Limits the queued requests of one tenant; others are refused, without affecting other tenants.

    A tenant is a user of a LangGraph server that knows its users. Requests that belong to no user, as in a `Runner`,
    are not limited. A request that was sent, or is answered by a cache, does not count. An accepted request
    stays accepted: if its batch does not answer it, it is queued again beyond the limit.

    A request over the limit is not queued and not billed. Its node gets a `RequestFailed` with the code
    `"tenant_limit"`, which says how many wait and what the limit is. `retryable` is true if the request may be
    accepted once others have been sent.

    Attributes:
        requests: The limit of requests. `None` is no limit.
        bytes: The limit of bytes, as the provider measures them. `None` is no limit.

    Raises:
        ValueError: A limit is neither a positive integer nor `None`.
    """

    requests: int | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(
                    f"TenantLimits({each.name}={value!r}) would accept nothing; pass a whole number from 1, or None"
                )

    def judge(self, bridge: str, request: Waiting, count: int, size: int) -> Errored | None:
        """Return why a request is refused; `None` if it may wait.

        Args:
            bridge: The bridge's name, for the message.
            request: The request.
            count: How many requests of its tenant wait already.
            size: Their bytes.
        """
        if not request.tenant:
            return None
        holds = f"{request.tenant!r} has {count:,} requests of {size:,} bytes waiting in {bridge!r}"
        if self.requests is not None and count >= self.requests:
            return _over(f"{holds}, and TenantLimits(requests={self.requests}) allows no more")
        if self.bytes is not None and request.bytes > self.bytes:
            why = f"the request has {request.bytes:,} bytes, and TenantLimits(bytes={self.bytes}) allows no more"
            return Errored(f"{why} for {request.tenant!r} in {bridge!r}; send a smaller request", code=OVER)
        if self.bytes is not None and size + request.bytes > self.bytes:
            return _over(f"{holds}; with {request.bytes:,} more it would exceed TenantLimits(bytes={self.bytes})")
        return None


def _over(why: str) -> Errored:
    return Errored(
        f"{why}; it was not sent. Ask again once some of them were sent, or raise Bridge(per_tenant=…)",
        code=OVER,
        retryable=True,
    )
