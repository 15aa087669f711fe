"""Runs a plan, and tells what has come of it."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from batch_bridge._core import clock as _clock
from batch_bridge._ledger import claims as _claims
from simulation import batcher_history, jobs_history, plans, runner_history, server_history
from simulation.plans import Places
from simulation.scheduler import SimLoop, seeded
from simulation.world import Dead, Fault, Plan, World

HOSTS: dict[str, tuple[Places, Callable[[World], Awaitable[None]]]] = {
    "runner": (runner_history.PLACES, runner_history.history),
    "runners": (runner_history.FLEET, runner_history.fleet),
    "batcher": (batcher_history.PLACES, batcher_history.history),
    "server": (server_history.PLACES, server_history.history),
    "jobs": (jobs_history.PLACES, jobs_history.history),
}


@dataclass(frozen=True, slots=True)
class Ran:
    """A history that was run."""

    plan: Plan
    error: BaseException | None
    trace: tuple[tuple[object, ...], ...]
    fired: tuple[Fault, ...]
    steps: int
    calls: dict[str, int]


def plan_of(host: str, seed: int) -> Plan:
    """Return what a seed of a host stands for."""
    return plans.draw(host, seed, HOSTS[host][0])


def run(plan: Plan) -> Ran:
    """Run a plan. The same plan gives the same history."""
    loop = SimLoop(f"{plan.host} {plan.seed} order")
    loop.set_exception_handler(lambda *_: None)  # a dead process's tasks raise into the void
    error: BaseException | None = None
    thresholds = gc.get_threshold()
    gc.set_threshold(100_000, 20, 100)  # a Runner leaves what somebody has set
    with seeded(loop, f"{plan.host} {plan.seed}"), _clock.ticking(loop.wall):
        world = World(loop, plan)
        kept = _claims.machine, _claims.started
        _claims.machine, _claims.started = world.machine, world.started
        try:
            asyncio.set_event_loop(loop)
            loop.run_until_complete(HOSTS[plan.host][1](world))
        except (Exception, Dead) as failed:
            error = failed
        finally:
            _claims.machine, _claims.started = kept
            asyncio.set_event_loop(None)
            _end(loop)
            gc.set_threshold(*thresholds)
    return Ran(plan, error, tuple(world.trace), tuple(world.fired), loop.steps, dict(world.calls))


def _end(loop: SimLoop) -> None:
    left = asyncio.all_tasks(loop)
    loop.on_step, loop._most = None, loop.steps + 10_000
    for task in left:
        task.cancel()
    try:
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=1))
    except BaseException:
        pass
    loop.close()


def shrunk(plan: Plan) -> Plan:
    """Return the smallest plan that fails like this one."""
    return plans.shrink(plan, lambda each: run(each).error is not None)
