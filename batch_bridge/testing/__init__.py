"""Real parts for tests: a Batch API server that speaks OpenAI's wire format.

Nothing in here knows the rest of the library, nor the other way round.
"""

from batch_bridge.testing._answer import Answer
from batch_bridge.testing._batch_server import BatchServer
from batch_bridge.testing._errors import BatchServerError
from batch_bridge.testing._faults import Faults
from batch_bridge.testing._limits import Limits
from batch_bridge.testing._options import ServerOptions
from batch_bridge.testing._settings import Settings
from batch_bridge.testing._stats import Stats

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
