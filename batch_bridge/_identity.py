"""What makes one wait one wait. Pure.

A node that is interrupted runs again from its top, so `wait` is called many times for one request. A request is known
by its content within its task: the thread, the checkpoint namespace (which holds the task's id, so that loops,
fan-out, subgraphs and forks all differ), the bridge, the digest of the item or the caller's key, and how many equal
ones came before it. After a failure, and only then, a retry of the node asks anew: the attempt is part of the identity.
"""

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Identity:
    """A wait of one execution.

    Attributes:
        equal: How many waits came before it that were the same in everything else.
        first: The id of the request that it sends at first.
    """

    thread: str
    namespace: str
    batcher: str
    content: bytes
    equal: int
    first: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", self.request_id())

    def request_id(self, attempt: int = 0) -> str:
        """Return the id of the request that this wait sends: 32 hex digits. `attempt` counts failures before it."""
        state = hashlib.blake2b(digest_size=16, person=b"batch-bridge")
        for part in (self.thread, self.namespace, self.batcher):
            encoded = part.encode()
            state.update(len(encoded).to_bytes(4))
            state.update(encoded)
        state.update(self.content)
        state.update(self.equal.to_bytes(4))
        state.update(attempt.to_bytes(4))
        return state.hexdigest()
