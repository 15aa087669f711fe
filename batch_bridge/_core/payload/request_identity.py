"""What makes one wait one wait. Pure.

A node that is interrupted runs again from its top, so `wait` is called many times for one request. A request is known
by its content within its task: the thread, the checkpoint namespace (which holds the task's id, so that loops,
fan-out, subgraphs and forks all differ), the bridge, the digest of the item or the caller's key, and how many equal
ones came before it. After a failure, and only then, a retry of the node sends a new request: the attempt
is part of the identity.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Identity:
    """A wait of one execution.

    Attributes:
        equal: How many waits came before it that were the same in everything else.
        key: The caller's key, if there was one; it is part of `content`.
        tenant: The tenant of the execution, where a server knows its users; no part of the id.
        deadline: How long it may take, where it says so itself; no part of the id.
        label: What its asker calls it; no part of the id.
        is_priced: Its answer is to tell what it has cost; no part of the id.
        first: The id of the request that it sends at first.
    """

    thread: str
    namespace: str
    batcher: str
    content: bytes
    equal: int
    key: str | None = None
    tenant: str = ""
    deadline: timedelta | None = None
    label: str = ""
    is_priced: bool = False
    first: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", self.request_id())

    @property
    def sample(self) -> str:
        """What separates its request from equal ones that must not share its answer; empty for the first.

        The k-th equal wait of one execution is the k-th sample; a wait that was given a key is one of its own.
        """
        number = str(self.equal) if self.equal else ""
        return number if self.key is None else f"{number}:{self.key}"

    def request_id(self, attempt: int = 0) -> str:
        """Return the id of the request that this wait sends: 32 hex digits. `attempt` counts failures before it."""
        parts: list[bytes] = []
        for part in (self.thread, self.namespace, self.batcher):
            encoded = part.encode()
            parts += (len(encoded).to_bytes(4), encoded)
        parts += (self.content, self.equal.to_bytes(4), attempt.to_bytes(4))
        return hashlib.blake2b(b"".join(parts), digest_size=16, person=b"batch-bridge").hexdigest()
