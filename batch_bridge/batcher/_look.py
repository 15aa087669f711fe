"""How an open Batcher is, as rows for its journal: counts, and never what was asked or answered."""

from collections.abc import Mapping

from batch_bridge._host.bridge_row import bridge_row
from batch_bridge._host.engine_loop import EngineLoop
from batch_bridge._status.journal import Look
from batch_bridge.bridge import Bridge


def look_at_items(
    bridge: Bridge, engine_loop: EngineLoop, *, asked: int, ended: int, failures: Mapping[str, int], begun_at: float
) -> Look:
    """Return how a Batcher is; its items are shown as the threads of one run."""
    failed = sum(failures.values())
    row = {
        "id": bridge.name,
        "total": asked,
        "done": ended - failed,
        "failed": failed,
        "running": 0,
        "parked": asked - ended,
        "waves": [],
        "failures": dict(failures),
        "rounds": [],
        "begun_at": begun_at,
        "ended_at": None,
    }
    return Look({bridge.name: row}, {bridge.name: bridge_row(bridge.kind, engine_loop)})
