"""How far an open Batcher is, for callbacks and its journal: counts, and never what was asked or answered."""

from batch_bridge._engine import Engine
from batch_bridge._host.bridge_row import bridge_row
from batch_bridge._host.engine_loop import EngineLoop
from batch_bridge._host.eta import Whereabouts
from batch_bridge._status.journal import Look
from batch_bridge._status.models import Threads
from batch_bridge.batcher._worker.waiters import Waiters
from batch_bridge.bridge import Bridge
from batch_bridge.events import Eta, Progress


def look_at_items(bridge: Bridge, engine_loop: EngineLoop, waiters: Waiters, *, begun_at: float) -> Look:
    """Return how a Batcher is; its items are shown as the threads of one run."""
    asked, ended, failed = waiters.asked, waiters.answered, waiters.failures.total()
    row = {
        "id": bridge.name,
        "total": asked,
        "done": ended - failed,
        "failed": failed,
        "running": 0,
        "parked": asked - ended,
        "waves": [],
        "failures": dict(waiters.failures),
        "rounds": [],
        "begun_at": begun_at,
        "ended_at": None,
    }
    return Look({bridge.name: row}, {bridge.name: bridge_row(bridge.kind, engine_loop)})


def progress_of(waiters: Waiters, engine: Engine, eta: Eta | None) -> Progress:
    """Return how many items are where."""
    return Progress(
        waiters.answered,
        waiters.asked,
        engine.queued,
        engine.in_flight,
        engine.batches_in_flight,
        0,
        engine.progress,
        eta,
    )


def whereabouts_of(waiters: Waiters) -> Whereabouts:
    """Return how many items are where, as an estimate of the time wants it: each is a thread that has parked once."""
    return Threads(waiters.asked, waiters.answered, 0, waiters.asked - waiters.answered, 0), (), None
