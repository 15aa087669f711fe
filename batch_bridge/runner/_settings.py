"""What a Runner decides about its sessions, and what a call is."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from batch_bridge._ledger.patience import STORE_PATIENCE
from batch_bridge._money import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """The settings of a Runner that each of its sessions has.

    Attributes:
        store_patience: How long a call of the store or the checkpointer is tried again.
        patience: How long to wait for another Runner that owns a bridge or a run in the store.
        give_up_after: How long nothing may move until a run ends; `None`: forever.
        budget: What all bridges may spend together; `None`: each has its own.
        is_shared: Other processes may have the store open.
    """

    store_patience: timedelta = STORE_PATIENCE
    patience: timedelta = timedelta(0)
    give_up_after: timedelta | None = None
    budget: Budget | None = None
    is_shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTraits:
    """What distinguishes the calls of a Runner.

    Attributes:
        is_single: It is one thread, or threads that have nothing to do with each other, and says nothing about what
            comes next.
        is_again: It may have been begun before; finished threads are not run again.
        leaves: It ends once nothing can be done but wait for providers; what its threads wait for is their result.
        streams: What its threads stream comes out before their results, as `StreamChunk`.
    """

    is_single: bool = False
    is_again: bool = False
    leaves: bool = False
    streams: bool = False


PLAIN: Final = RunTraits()
