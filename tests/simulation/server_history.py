"""A bridge on a LangGraph server with two workers that die and come back, until all agents have their answers."""

import asyncio
import json
import random
from datetime import timedelta
from typing import Any

import httpx

from batch_bridge import Bridge, FlushPolicy
from batch_bridge._core.models import Errored, Succeeded
from batch_bridge._node.platform.client import Access
from batch_bridge._server.tick import ServerHost
from simulation import check
from simulation.plans import COMMON, Places
from simulation.provider import REFUSED, Provider, SimProvider, answer_of
from simulation.server import Agent, Server, thread_of
from simulation.store import SimStore
from simulation.world import Blip, Dead, Process, World

PLACES: Places = {
    "store": (90, (*COMMON, "half", "half")),
    "server": (30, COMMON),
    "provider": (16, (*COMMON, "late", "twice")),
    "step": (900, ("die",)),
}


async def history(world: World) -> None:
    """Run it, and check what has come of it."""
    draws = random.Random(f"{world.plan.host} {world.plan.seed} history")
    agents = []
    for number in range(draws.choice((1, 2, 3))):
        rounds = [
            [f"t{number} {at} {each}" for each in range(draws.choice((1, 2)))] for at in range(draws.choice((1, 2)))
        ]
        agents.append(Agent(thread_of(f"t{number}"), rounds))
    if draws.random() < 0.15:
        agents[0].rounds[0][0] = f"{REFUSED} {agents[0].rounds[0][0]}"
    store = SimStore(world)
    provider = Provider(world, trouble=draws.choice((0.0, 0.0, 0.3)))
    server = Server(world, store, agents)
    options: dict[str, Any] = {
        "flush": draws.choice((FlushPolicy(max_age=0.5), FlushPolicy(max_age=20), FlushPolicy(max_requests=1))),
        "poll_interval": draws.choice((5, 60)),
        "attempts": 3,
    }

    def worker(*, is_immortal: bool = False) -> tuple[Process, ServerHost]:
        bridge = Bridge(SimProvider(provider), **options)
        access = Access(lambda: server)
        return world.begin(is_immortal=is_immortal), ServerHost("bridge", bridge.engine, access, timedelta(days=7))

    workers = [worker() for _ in range(2)]
    for agent in agents:
        world.loop.call_later(draws.choice((0.0, 0.1, 5.0)), server.begin, agent)
    await asyncio.sleep(6.0)
    whether = random.Random(f"{world.plan.host} {world.plan.seed} gone")
    if whether.random() < 0.15:
        world.loop.call_later(whether.choice((0.0, 0.5, 5.0, 20.0, 60.0)), server.delete, agents[-1])
    while not (server.is_quiet and all(each.is_over or each.is_gone for each in agents)):
        run = server.take()
        if run is None:
            assert not server.is_quiet, (
                f"nobody looks after {[each.name for each in agents if not each.is_over and not each.is_gone]}"
            )
            await asyncio.sleep(0.5)
            continue
        place = draws.randrange(len(workers))
        process, host = workers[place]
        try:
            await world.work(process, lambda host=host, run=run: tick(host, store, f"{run['run_id']} {run['attempt']}"))
        except Dead:
            server.lose(run)
            workers[place] = worker()
        except (Blip, httpx.HTTPError):  # the run has failed, and no other is made for it
            run["status"] = "done"
        else:
            run["status"] = "done"
    living = [each for each in agents if not each.is_gone]
    gone = [each for each in agents if each.is_gone]
    for agent in living:
        for question in (question for asked in agent.rounds for question in asked):
            outcome = agent.outcomes[question]
            if question.startswith(REFUSED):
                assert isinstance(outcome, Errored), f"{question} ended with {outcome}"
                assert outcome.code == "refused", f"{question} ended with {outcome}"
            else:
                assert outcome == Succeeded({"a": answer_of(question)}) or (
                    isinstance(outcome, Succeeded) and outcome.answer == {"a": answer_of(question)}
                ), f"{question} ended with {outcome}"
    for question in (question for agent in gone for asked in agent.rounds for question in asked):
        assert provider.paid.pop(question, 0) <= 1, f"{question} was paid twice"
    assert not store.changed, store.changed
    check.paid(provider, [question for agent in living for asked in agent.rounds for question in asked])
    await asyncio.sleep(500.0)  # nothing is out of reach any more
    process, host = worker(is_immortal=True)
    await world.work(process, lambda: tick(host, store, "the last one"))
    status = host.status()
    told = {name: status[name] for name in ("waiting", "in_flight", "batches", "undelivered", "unclaimed")}
    assert not any(told.values()), status
    assert {each["thread"] for each in status["dead_letters"]} <= {each.name for each in gone}, status
    unwanted = {"requests", "members", "batches", "inbox", "outbox"}
    left = {kind: rows for kind, rows in store.read().items() if kind in unwanted}
    # An item of a thread that was deleted stays if its process has died before it was queued; `erase` finds it.
    items = store.rows.get(("batch_bridge", "bridge", "requests"), {})
    has_died = any(each[1] == "died" for each in world.trace)
    if has_died and all(json.loads(row)["thread"] in {each.name for each in gone} for row in items.values()):
        left.pop("requests", None)
    assert not left, f"rows were left: {left}"
    for each, _ in (*workers, (process, host)):
        await world.end(each)


async def tick(host: ServerHost, store: SimStore, name: str) -> None:
    """Do what the bridge's graph does in a run."""
    try:
        await host.is_ours(store, "the bridge's")
        is_on = await host.begin(store, name)
        while is_on:
            await host.collect("")
            await host.advance()
            await host.deliver()
            await host.flush()
            if host.passes >= 300 or not (host.again or await host.rest()):
                await host.end()
                break
            is_on = await host.begin(store, name)
    except Exception as error:
        await host.fail(error)
    except BaseException:
        await host.break_off()
        raise
