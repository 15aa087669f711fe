"""The engine: requests in, outcomes out, through a provider's batches. Driven by `tick(now)`; it has no clock.

A request is in exactly one place::

    collect ─▶ queue ─▶ begun ─▶ prepared ─▶ submitted ─▶ outcome ─▶ forgotten
                 ▲        │          │           │
                 ├────────┴──────────┘           │       withdrawn: known not to exist at the provider
                 └───────────────────────────────┘       sent again: expired, never run, 429, 5xx, or late

Every step can be repeated without harm: a crash between any two writes is the same as a step done twice. The engine
knows nothing of LangGraph's runtime or of any vendor, and it never raises for what a provider did: each request of
a batch ends with exactly one outcome instead. Two things pass through: what the ledger's store raises, and the
`BadPollResultError` of a `poll` that is wrong, whose batch stays in flight.

Its rooms, each of which knows only those below it::

    _engine     what a host calls: open, collect, tick, cancel, outcomes, forget
    _sender     queue ─▶ begun ─▶ prepared ─▶ submitted, and back if that came to nothing
    _settler    submitted ─▶ outcome, or back into the queue
    _schedule   what is sent now, and when something is due next; no I/O
    _intake     a request is measured, or refused
    _state      what all of them share
    _looks      a look at a batch that told nothing, and what comes of it
    _notices    what the log has been told already
    _flights    the batches on their way, and who is in which
"""

from batch_bridge._engine.engine import Engine, Tick
from batch_bridge._engine.flight import first_pause
from batch_bridge._engine.intake import CANCELLED
from batch_bridge._engine.notices import Notices
from batch_bridge._engine.state import POLL_PATIENCE

__all__ = ["CANCELLED", "POLL_PATIENCE", "Engine", "Notices", "Tick", "first_pause"]
