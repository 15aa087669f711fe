"""What is queued and on its way, in all bridges of a Runner."""

from collections.abc import Callable, Collection

from batch_bridge._host.engine_loop import EngineLoop
from batch_bridge._host.eta import EtaClock, Whereabouts
from batch_bridge.events import BatchProgress, Eta


class Traffic:
    """Counts what the engines hold now.

    Args:
        engine_loops: One for each bridge.
        whereabouts: Returns where the threads are, for an estimate of the time.
    """

    def __init__(self, engine_loops: Collection[EngineLoop], whereabouts: Callable[[], Whereabouts]) -> None:
        self._engine_loops = engine_loops
        self._eta = EtaClock("runner", [engine_loop.engine for engine_loop in engine_loops], whereabouts)

    @property
    def queued(self) -> int:
        """Requests that wait to be sent."""
        return sum(engine_loop.engine.queued for engine_loop in self._engine_loops)

    @property
    def in_flight(self) -> int:
        """Requests at the providers."""
        return sum(engine_loop.engine.in_flight for engine_loop in self._engine_loops)

    @property
    def batches(self) -> int:
        """Batches at the providers."""
        return sum(engine_loop.engine.batches_in_flight for engine_loop in self._engine_loops)

    @property
    def in_batches(self) -> tuple[BatchProgress, ...]:
        """How far the batches at the providers are."""
        return tuple(each for engine_loop in self._engine_loops for each in engine_loop.engine.progress)

    @property
    def eta(self) -> Eta | None:
        """When the calls that are under way will be done; `None` while there is no history of ended batches."""
        return self._eta.eta
