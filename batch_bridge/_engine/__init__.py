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

Its modules and folders, each of which imports only those below it::

    engine       what a host calls: open, collect, tick, cancel, outcomes, forget
    view         what it may be asked; reading changes nothing
    takeover     what is taken over from the process before: batches in flight, and the queue
    collector    new requests are sorted out, measured, and queued or refused
    sending/     queue ─▶ begun ─▶ prepared ─▶ submitted, and back if that came to nothing; what is due, and when
    settlement/  submitted ─▶ outcome, or back into the queue; a look at a batch that told nothing
    intake       a request is measured, or refused
    state        what all of them share
    settings     what the bridge decides about all of its engines
    flights/     the batches on their way, who is in which, and what the log has been told already
    waiting/     the queue, its order, and the quotas
"""

from batch_bridge._engine.engine import Engine, Tick
from batch_bridge._engine.flights.flight import first_pause
from batch_bridge._engine.flights.notices import Notices
from batch_bridge._engine.intake import CANCELLED
from batch_bridge._engine.settings import POLL_PATIENCE, EngineSettings

__all__ = ["CANCELLED", "POLL_PATIENCE", "Engine", "EngineSettings", "Notices", "Tick", "first_pause"]
