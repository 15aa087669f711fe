"""Real components for tests: a Batch API server with the providers' HTTP APIs.

This package does not import the rest of the library, and the library does not import it.
"""

from batch_bridge.testing._answers.answer import Answer
from batch_bridge.testing._batch_server import BatchServer
from batch_bridge.testing._server.errors import BatchServerError
from batch_bridge.testing._server.stats import Stats
from batch_bridge.testing._server.switches.faults import Faults
from batch_bridge.testing._server.switches.limits import Limits
from batch_bridge.testing._server.switches.options import ServerOptions
from batch_bridge.testing._server.switches.settings import Settings

__all__ = [
    "Answer",
    "BatchServer",
    "BatchServerError",
    "Faults",
    "Limits",
    "ServerOptions",
    "Settings",
    "Stats",
]
