"""What a wait knows of bridges, and shares with the host that drives its graph."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from batch_bridge._node.pending_waits import LONG_GRACE, PendingWaits
from batch_bridge._node.untracked_state import UntrackedMemory

DEFAULT = "bridge"
"""The default bridge of a wait, if a Runner has several, and on a server."""


class Named(Protocol):
    """A bridge, as far as a node must know it."""

    @property
    def name(self) -> str:
        """What the bridge is called."""
        ...


@dataclass(slots=True)
class Link:
    """What the host of a graph and the waits inside it share.

    Attributes:
        bridges: The bridges of the host.
        retries: How often the thread has failed and been run again. Each retry may repeat failed requests.
        consumed: Ids of requests whose outcome a wait has returned or raised.
        parked: Ids of requests that a wait has raised an interrupt for, and the checkpoint namespaces of their tasks.
        untracked: What the host's threads hold in no checkpoint.
        by: The asker: the session that drives the graph.
        inherited: Whether an earlier session made the request whose answer the thread receives now.
        pending: Those of the executions in which something waited.
        loaded: The thread's newest checkpoint, alone in a tuple, where its host has just read it: the leg begins there.
        grace: Seconds that slow siblings have before a node is called nondeterministic.
        notes: What the host keeps in the metadata of each checkpoint that the leg makes.
    """

    bridges: frozenset[str]
    retries: int = 0
    consumed: set[str] = field(default_factory=set)
    parked: dict[str, str] = field(default_factory=dict)
    untracked: UntrackedMemory = field(default_factory=UntrackedMemory)
    by: str = ""
    inherited: bool = False
    pending: set[PendingWaits] = field(default_factory=set)
    loaded: tuple[Any] | None = None
    grace: float = LONG_GRACE
    notes: Mapping[str, Any] = field(default_factory=dict)

    def unclaimed(self, given: Iterable[str]) -> set[str]:
        """Return the answers that no wait has taken, of what the thread was `given` and of what it was given before.

        A task that has parked is run again, and may take them then.
        """
        held = {each for pending in self.pending if not pending.is_parked for each in pending.unclaimed()}
        later = {each for pending in self.pending if pending.is_parked for each in pending.unclaimed()}
        taken = {each for pending in self.pending for each in pending.claimed()}
        return (held | set(given)) - taken - later
