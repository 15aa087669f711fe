"""Only calls of a provider stand in a provider's `try`: what a store raises fails no request, and is found out again."""

import pytest
from fakes import FakeProvider, FakeStore, at, request

from batch_bridge._engine import Engine
from batch_bridge._flush import FlushPolicy
from batch_bridge._ledger import Ledger


class Blinking(FakeStore):
    """A store that fails at one of its calls, before or after that call takes effect."""

    def __init__(self, fails_at, *, after):
        super().__init__()
        self.fails_at, self.after, self.made = fails_at, after, 0

    async def abatch(self, ops):
        self.made += 1
        if self.made != self.fails_at:
            return await super().abatch(ops)
        if self.after:
            await super().abatch(ops)
        raise ConnectionError("blink")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fails_at", range(1, 20))
async def test_a_step_that_a_store_has_failed_is_found_out_again(fails_at, after):
    store, provider = Blinking(fails_at, after=after), FakeProvider()
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
