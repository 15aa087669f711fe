"""Only calls of a provider stand in a provider's `try`: what a store raises fails no request, and is found out again."""

import pytest
from fakes import MOMENTS, FakeProvider, FakeStore, Fuse, at, request

from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine
from batch_bridge._ledger.ledger import Ledger
from batch_bridge.errors import ProviderUnavailable


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("fails_at", range(1, 20))
async def test_a_step_that_a_store_has_failed_is_found_out_again(fails_at, moment):
    store, provider = FakeStore(), FakeProvider()
    store.fuse.arm(fails_at, moment, error=ConnectionError("blink"))
    requests, policy = [request(0), request(1)], FlushPolicy(max_requests=2)
    engine, settled = Engine("bridge", provider, policy, Ledger(store, "bridge")), set()
    is_open = False
    for second in range(20):
        try:
            if not is_open:
                await engine.open(at(second))
            is_open = True
            settled |= await engine.collect(requests, at(second * 60))
            settled.update((await engine.tick(at(second * 60), drain=True)).settled)
        except ConnectionError:
            is_open = False
    outcomes = await engine.outcomes([each.id for each in requests])
    assert [type(each).__name__ for each in outcomes.values()] == ["Succeeded"] * 2
    assert max(provider.executed.values()) == 1
    assert settled == outcomes.keys()


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("verb", ["prepare", "submit", "poll", "find", "release"])
async def test_a_call_that_a_provider_has_failed_once_is_made_again_or_looked_up(verb, moment):
    fuse = Fuse()
    provider, requests = FakeProvider(fuse=fuse), [request(0), request(1)]
    engine = Engine("bridge", provider, FlushPolicy(max_requests=2), Ledger(FakeStore(), "bridge"))
    await engine.open(at(0))
    fuse.arm(1, moment, verb, error=ProviderUnavailable("blink"))
    settled = set(await engine.collect(requests, at(0)))
    for minute in range(30):
        settled.update((await engine.tick(at(minute * 3600), drain=True)).settled)
    outcomes = await engine.outcomes([each.id for each in requests])
    assert [type(each).__name__ for each in outcomes.values()] == ["Succeeded"] * 2
    assert max(provider.executed.values()) == 1
    assert settled == outcomes.keys()
