"""What of a Batcher its users do not choose."""

from dataclasses import dataclass
from typing import Final

from batch_bridge._host.loop_thread import LoopThread


@dataclass(frozen=True, slots=True)
class Inside:
    """How a Batcher works inside. Durations in seconds.

    Attributes:
        place: The thread that it runs on, which others may share; one of its own if not given.
        patience: Within which a worker without waiting callers ends: it tries to send the queue, then closes its file.
        leave: That its thread has at least to end in.
        most_closed: Ended batches that a worker in memory remembers: the creations of an hour are counted by them.
        most_retained: Requests whose answers are kept in the file: each takes about 200 bytes of memory.
    """

    place: LoopThread | None = None
    patience: float = 60.0
    leave: float = 1.0
    most_closed: int = 1000
    most_retained: int = 1_000_000


USUAL: Final = Inside()
