"""What stands in the place of a result that is not there yet. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias, get_args

from batch_bridge._core.models import JSON

OnPending: TypeAlias = Literal["wait", "return"]


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """A batch at the provider that a thread waits for.

    Attributes:
        bridge: Its bridge.
        key: Our key of it (`bb-…`).
        handle: The provider's name for it.
        since: When it was sent, aware UTC.
        requests: How many of the thread's requests are in it.
        done: Requests of the whole batch that have ended, as far as the provider tells.
        total: Requests of the whole batch, as far as the provider tells.
    """

    bridge: str
    key: str
    handle: JSON
    since: datetime
    requests: int
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """The placeholder of a pending result: its thread waits for batches. The same call later continues it.

    Attributes:
        thread_id: The thread.
        batches: What it waits for at the providers.
        queued: How many of its requests are not sent yet: they wait for others, or for room at the provider.
    """

    thread_id: str
    batches: tuple[PendingBatch, ...] = ()
    queued: int = 0

    @property
    def since(self) -> datetime | None:
        """When the oldest of the batches was sent; `None` if nothing is at a provider."""
        return min((each.since for each in self.batches), default=None)


def check_on_pending(called: str, given: object, *, is_named: bool) -> bool:
    """Return whether a call is to return though threads wait.

    Args:
        called: The method.
        given: Its `on_pending=`.
        is_named: Whether a later call can name the threads again.

    Raises:
        ValueError: It is neither of the two, or no later process could continue the threads.
    """
    if given not in get_args(OnPending):
        raise ValueError(f'{called} got on_pending={given!r}; give "wait" or "return"')
    if given == "return" and not is_named:
        raise ValueError(
            f'{called} got on_pending="return" and no name to continue by: what is sent could not be collected. Give '
            'run_id="…", or config={"configurable": {"thread_id": "…"}}'
        )
    return given == "return"
