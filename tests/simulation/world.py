"""What a history happens in: processes that die, and a network whose calls fail as a plan says.

A plan is data: a seed, which draws the delays and the order, and a list of faults. So a failing one is replayed exactly,
and is shrunk by leaving faults out.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from simulation.scheduler import SimLoop, SimTask, process_of

T = TypeVar("T")

Kind = Literal[
    "fail",  # the call comes to nothing
    "lose",  # it is done, and its answer is lost
    "half",  # a store does half of it
    "late",  # a provider creates the batch long after the call has failed
    "twice",  # a provider creates the batch twice, its answer is lost, and it lists the batches only later
    "outage",  # it fails, and so do all calls of its place for a while
    "slow",  # it takes long
    "die",  # its process dies before it
    "die after",  # its process dies when it is done
    "pause",  # its process is paused before it, at once or as soon as it runs no graph
    "pause after",  # its process is paused when it is done
]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong at the `number`-th call of a place, or of a verb of the provider's.

    Or at the `number`-th step of all (`place` "step": a process dies), or at the `number`-th call of the store once
    another fault has come (`place` "then": what is done about a fault is rarely done, and must survive a death too), or
    once somebody has cancelled requests (`place` "cancel").
    """

    place: str
    number: int
    kind: Kind
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What decides a history."""

    host: str
    seed: int
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        return f"{self.host} {self.seed}: " + (", ".join(map(str, self.faults)) or "no faults")


class Dead(BaseException):
    """The process has died."""


class Blip(ConnectionError):
    """A call has failed, and may have been done."""


@dataclass(slots=True, eq=False)
class Process:
    """A simulated process. What it holds in memory ends with it."""

    number: int
    is_dead: bool = False
    is_immortal: bool = False
    is_paused: bool = False
    may_pause: Callable[[], bool] = lambda: True
    shelf: list[asyncio.Handle] = field(default_factory=list)
    tasks: set[SimTask] = field(default_factory=set)
    died: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_busy(self) -> bool:
        """Whether anything runs in it."""
        return any(not each.done() for each in self.tasks)

    @property
    def pid(self) -> int:
        """Its id, which no other process has."""
        return 1000 + self.number


class World:
    """All that outlives a process, but for what the simulated parts hold themselves."""

    def __init__(self, loop: SimLoop, plan: Plan) -> None:
        self.loop = loop
        self.plan = plan
        self.random = random.Random(f"{plan.host} {plan.seed} world")
        self.trace: list[tuple[object, ...]] = []
        self.calls: Counter[str] = Counter()
        self.processes: list[Process] = []
        self._faults = {(each.place, each.number): each for each in plan.faults if each.place != "step"}
        self._verbs: Counter[str] = Counter()
        self._since: dict[str, int] = {}
        self._deaths = {each.number for each in plan.faults if each.place == "step"}
        self._down: dict[str, float] = {}
        self._pauses: list[Fault] = []
        self.fired: list[Fault] = []
        self._pace = self.random.choice((0.0, 0.001, 0.05, 1.0))
        self._is_one_machine = self.random.random() < 0.8
        loop.on_step = self._step if self._deaths else None

    # -- processes -------------------------------------------------------------------------------------------

    async def run(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run something in a process of its own, and end with it. No task of it may be left.

        Raises:
            Dead: The process has died.
        """
        process = self.begin()
        result = await self.work(process, main)
        await self.end(process)
        return result

    def begin(self, *, is_immortal: bool = False) -> Process:
        """Begin a process."""
        process = Process(len(self.processes), is_immortal=is_immortal)
        self.processes.append(process)
        return process

    async def work(self, process: Process, main: Callable[[], Awaitable[T]]) -> T:
        """Do something in a process.

        Raises:
            Dead: The process has died.
        """
        token = process_of.set(process)
        try:
            task = self.loop.create_task(main())
        finally:
            process_of.reset(token)
        died = self.loop.create_task(process.died.wait())
        await asyncio.wait((task, died), return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if not process.is_dead:
            return task.result()
        await self._bury(process)
        raise Dead

    async def end(self, process: Process) -> None:
        """End a process that has done its work: no task of it may be left.

        But for a write of LangGraph's own, which may end later: where a task of a step fails, the step ends without
        waiting for what a task that ended at the same moment has just begun to write. That task is done again.
        """
        for _ in range(3):  # one that was cancelled, or is about to end, is no leak
            await asyncio.sleep(0)
        if writes := [each for each in process.tasks if not each.done() and each.is_own_write]:
            await asyncio.wait(writes)
        left = [str(each) for each in process.tasks if not each.done()]
        await self._bury(process)
        assert not left, f"tasks were left: {left}"

    def is_down(self, place: str) -> bool:
        """Return whether all calls of a place fail now."""
        return self._down.get(place, -1.0) > self.loop.time()

    def mark(self, what: str) -> None:
        """Count the calls of the store from here on, if they are not counted yet: a fault may come at one of them."""
        self._since.setdefault(what, 0)

    def machine(self) -> str:
        """Return what names the machine, if processes can see from there whether others live."""
        return "machine" if self._is_one_machine else ""

    def started(self, pid: int | None = None) -> str:
        """Return when a process was started; empty if it has ended."""
        number = (pid or os.getpid()) - 1000
        return "" if self.processes[number].is_dead else f"start of {number}"

    def kill(self, process: Process) -> None:
        """Let a process die where it is. What it does from now on has no effect."""
        if not process.is_dead and not process.is_immortal:
            self.trace.append((self.loop.time(), "died", process.number))
            process.is_dead = True
            self._go_on(process)
            process.died.set()

    def pause(self, process: Process, seconds: float) -> None:
        """Stop a process for a while: its clocks go on, and nothing of it runs. Calls on their way wait with it.

        One that runs a graph is not stopped: LangGraph's checkpoints know no owner, so two that run a thread are apart.
        """
        if process.is_dead or process.is_paused or process.is_immortal:
            return
        self.trace.append((self.loop.time(), "paused", process.number))
        process.is_paused = True
        self.loop.frozen += 1
        self.loop.call_later(seconds, self._go_on, process, context=Context())

    def _go_on(self, process: Process) -> None:
        if process.is_paused:
            process.is_paused = False
            self.loop.frozen -= 1
            shelf, process.shelf = process.shelf, []
            self.loop.thaw(shelf)

    async def _bury(self, process: Process) -> None:
        process.is_dead = True
        self._go_on(process)
        for _ in range(1000):
            left = sorted((each for each in process.tasks if not each.done()), key=lambda each: each.number)
            if not left:
                break
            for each in left:
                each.cancel()
            await asyncio.wait(left, timeout=0.001)
        for each in process.tasks:
            if each.done() and not each.cancelled():
                each.exception()
        process.tasks.clear()

    def _step(self, number: int) -> None:
        if number in self._deaths:
            living = [each for each in self.processes if not each.is_dead and not each.is_immortal and each.is_busy]
            if living:
                self.fired.append(Fault("step", number, "die"))
                self.kill(living[number % len(living)])

    # -- calls -----------------------------------------------------------------------------------------------

    async def call(
        self,
        place: str,
        verb: str,
        work: Callable[[], T],
        *,
        half: Callable[[], object] | None = None,
        late: Callable[[], object] | None = None,
        twice: Callable[[float], object] | None = None,
        fails: Callable[[str], Exception] = Blip,
        loses: Callable[[str], Exception] = Blip,
    ) -> T:
        """Make a call over the network, as the process that runs.

        Args:
            place: What is called; an outage is of a place.
            verb: What it does.
            work: Its effect, at one moment.
            half: Half of its effect.
            late: Called some time after a call that has failed, as its effect.
            twice: Called after its effect with the seconds of the fault: the same once more.
            fails: What it raises when nothing was done.
            loses: What it raises when it was, or may have been.
        """
        process = process_of.get()
        self._check(process)
        self.calls[place] += 1
        number = self.calls[place]
        fault = self._fault(place, verb, number)
        told = (self.loop.time(), process.number, place, verb, number)
        if fault is not None:
            self.fired.append(fault)
            self.trace.append((*told, fault.kind))
        else:
            self.trace.append(told)
        kind = None if fault is None else fault.kind
        if fault is not None and kind in ("pause", "pause after"):
            self._pauses.append(fault)
        if self._pauses and self._pauses[0].kind == "pause":
            await self._pause_now(process)
        if kind == "die" and not process.is_immortal:
            self.kill(process)
            raise Dead
        await self._travel(fault.seconds if fault is not None and kind == "slow" else 0.0)
        self._check(process)
        if fault is not None and kind == "outage":
            self._down[place] = self.loop.time() + fault.seconds
        if kind in ("fail", "outage") or self.is_down(place):
            raise fails(f"{place} cannot be reached for {verb}")
        if kind == "half" and half is not None:
            half()
            raise loses(f"{place} broke off in the middle of {verb}")
        if kind == "late" and late is not None and fault is not None:
            self.loop.call_later(fault.seconds, late)
            raise loses(f"{verb} of {place} timed out")
        result = work()
        if self._pauses and self._pauses[0].kind == "pause after":
            await self._pause_now(process)
        if kind == "twice" and twice is not None and fault is not None:
            twice(fault.seconds)
            raise loses(f"the answer of {place} to {verb} was lost, and it was done twice")
        if kind == "die after" and not process.is_immortal:
            self.kill(process)
            raise Dead
        await self._travel(0.0)
        self._check(process)
        if kind in ("lose", "half", "late", "twice"):
            raise loses(f"the answer of {place} to {verb} was lost")
        return result

    def _fault(self, place: str, verb: str, number: int) -> Fault | None:
        fault = self._faults.get((place, number))
        if place == "provider":
            self._verbs[verb] += 1
            fault = fault or self._faults.get((verb, self._verbs[verb]))
        if place == "store":
            if self.fired:
                self.mark("then")
            for what in self._since:
                self._since[what] += 1
                fault = fault or self._faults.get((what, self._since[what]))
        return fault

    async def _pause_now(self, process: Process) -> None:
        if process.may_pause():
            self.pause(process, self._pauses.pop(0).seconds)
            await asyncio.sleep(0)

    async def _travel(self, seconds: float) -> None:
        draw = self.random.random()
        if seconds:
            await asyncio.sleep(seconds)
        elif draw < 0.5:
            if draw < 0.25:
                await asyncio.sleep(0)
        elif self._pace:
            await asyncio.sleep(self._pace * draw)
        else:
            for _ in range(int(draw * 4)):
                await asyncio.sleep(0)

    @staticmethod
    def _check(process: Process) -> None:
        if process.is_dead:
            raise Dead
