"""A leg: what one job does of a thread, from where it stands to where it parks or ends, by the Runner's own code."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from langchain_core.runnables import RunnableConfig

from batch_bridge._core.models import Outcome
from batch_bridge._core.payload.interrupt_payload import Asked
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._ledger.patience import Patience
from batch_bridge._ledger.rows import Rows
from batch_bridge._node.pending_waits import LONG_GRACE
from batch_bridge._node.untracked_state import UntrackedMemory
from batch_bridge.pool._leg_saver import LegToken
from batch_bridge.runner._run import Run
from batch_bridge.runner._settings import RunTraits
from batch_bridge.runner._threads.recovery import Failures
from batch_bridge.runner._threads.thread import Thread
from batch_bridge.runner._threads.unclaimed import Unclaimed

PARKED: Final = object()
"""The result of a leg whose thread waits for a bridge."""


class NoFailures(Failures):
    """Failures of a thread that has had none so far: there is nothing to read."""

    async def read(self, thread: Thread) -> None:
        """Do nothing."""


class LegHost:
    """What a `Run` needs of its host, for one leg. See `RunHost`.

    Args:
        graph: Compiled, with the checkpointer of legs.
        bridges: The names of the pool's bridges.
        rows: Where the ledgers are.
        by: The asker: this process.
        patiences: With the checkpointer, and with the store.
        leg: What it holds of its thread.
        has_failed: Whether the thread has ever failed, and so may have a count of failures.
    """

    def __init__(
        self,
        graph: Any,
        bridges: frozenset[str],
        rows: Rows,
        *,
        by: str,
        patiences: Sequence[Patience],
        leg: LegToken,
        has_failed: bool,
    ) -> None:
        self.graph = graph
        self.bridges = bridges
        self.failures = Failures(rows) if has_failed else NoFailures(rows)
        self.untracked = UntrackedMemory()
        self.grace = LONG_GRACE
        self.unclaimed = Unclaimed(rows)
        self.by = by
        self._patiences = patiences
        self.under_way: dict[str, Run | None] = {}
        self.newcomers: set[str] = set()
        self.asked: tuple[Asked, ...] = ()
        """What the thread asks for where it has parked."""
        self._ledgers = {bridge: Ledger(rows, bridge) for bridge in bridges}
        self._looking: asyncio.Task[None] | None = None
        self._leg = leg
        self._known: dict[str, Outcome] = {}

    async def run(self, value: Any, config: RunnableConfig, run_id: str, options: Mapping[str, Any]) -> Any:
        """Go on with a thread as far as it goes; return its result, `Failed`, or `PARKED`.

        Raises:
            Exception: What the checkpointer or the store raised: the leg can be done again.
        """
        traits = RunTraits(is_single=True, is_again=True)
        call = Run(self, [value], config, run_id, traits, limit=1, options=options)
        try:
            results = [result async for _, result in call.results()]
        finally:
            if self._looking is not None:
                self._looking.cancel()
            await call.cancel()
        return results[-1]

    def collect(self, call: Run, thread: Thread, asked: Iterable[Asked]) -> None:
        """Look whether what a parked thread asks for has been answered; if not, the leg is over.

        What the leg itself has just asked for is not looked for: the process that ticks does.
        """
        self.asked = tuple(asked)
        if self._leg.writes:
            call.leave(lambda _: PARKED)
            return
        self._looking = asyncio.get_running_loop().create_task(self._look(call, thread))

    async def _look(self, call: Run, thread: Thread) -> None:
        try:
            found = await self.outcomes({(each.id, each.batcher) for each in self.asked})
            due = [thread.settle(request_id) for request_id in found]
        except Exception as error:  # noqa: BLE001  # the store's: the leg ends with it
            call.fail(error)
            return
        if any(due):
            call.wake(thread)
        else:
            call.leave(lambda _: PARKED)

    async def outcomes(self, asks: Iterable[tuple[str, str]]) -> dict[str, Outcome]:
        """Read what is known of (request id, bridge) pairs. An outcome that the leg has read is not read again."""
        asked = dict(asks)
        by_bridge: dict[str, list[str]] = {}
        for request_id in asked.keys() - self._known.keys():
            by_bridge.setdefault(asked[request_id], []).append(request_id)
        for bridge, ids in by_bridge.items():
            self._known |= await self._ledgers[bridge].outcomes(ids)
        return {each: self._known[each] for each in asked if each in self._known}

    def told(self, asks: Iterable[tuple[str, str]]) -> None:
        """Do nothing: the process that ticks reports deliveries."""

    def release(self, thread: Thread) -> None:
        """Do nothing: the process that ticks releases the outcomes once it sees that the thread has ended."""

    def abandon(self, thread: Thread) -> None:
        """Do nothing: the process that ticks sends nothing for a thread that has failed."""

    def has_given_up(self, error: BaseException) -> bool:
        """See `RunHost`."""
        return any(each.has_given_up(error) for each in self._patiences)

    def changed(self, call: Run) -> None:
        """Do nothing: the pool's threads say whether all is idle."""
