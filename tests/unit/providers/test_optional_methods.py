"""What a provider may have besides its verbs is found on a wrapper that delegates, too, on every Python.

From Python 3.12 on, `isinstance` of a runtime-checkable protocol does not see what `__getattr__` gives.
"""

from datetime import timedelta

import pytest
from fakes import FakeProvider, FakeStore, at, request

from batch_bridge import Bridge, FlushPolicy, Limits, Provider, ResponseCache
from batch_bridge._core.models import Measure, Succeeded
from batch_bridge._core.provider import has_identity, has_realtime, has_tokens
from batch_bridge._engine import Engine
from batch_bridge._ledger.ledger import Ledger
from batch_bridge.providers._realtime.provider import Realtime, Reply


class Whole(FakeProvider):
    """A provider that has all there is."""

    def __init__(self) -> None:
        super().__init__(limits=Limits(enqueued_tokens=1_000))
        self.counted: list[str] = []

    def tokens(self, asked):
        self.counted.append(asked.id)
        return 7

    def identity(self, asked):
        return asked.id.encode()

    def realtime(self):
        async def answer(asked):
            return Reply(Succeeded("at once"))

        async def close():
            pass

        return Realtime(answer, measure=lambda _: Measure("twin", 1), close=close, concurrency=3)


class Delegates:
    """A user's wrapper, say for logging: all is the provider's own."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    def __getattr__(self, name):
        if name == "provider":
            raise AttributeError(name)
        return getattr(self.provider, name)


class Without(FakeProvider):
    """A provider that says, by `None`, that it has nothing else."""

    tokens = identity = realtime = None


@pytest.mark.parametrize(
    "wrap", [lambda provider: provider, Delegates, lambda provider: Delegates(Delegates(provider))]
)
def test_what_a_provider_has_is_found(wrap):
    for has in (has_tokens, has_identity, has_realtime):
        assert has(wrap(Whole()))
        assert not has(wrap(FakeProvider()))
        assert not has(wrap(Without()))


async def test_tokens_are_counted_by_a_provider_that_delegates():
    provider = Whole()
    engine = Engine("bridge", Delegates(provider), FlushPolicy(), Ledger(FakeStore(), "bridge"))
    await engine.open(at(0))
    await engine.collect([request(1), request(2)], at(0))
    assert provider.counted


@pytest.mark.parametrize("mode", ["realtime", "auto"])
def test_a_provider_that_delegates_has_a_realtime_way(mode):
    bridge = Bridge(Delegates(Whole()), mode=mode, realtime_below=2 if mode == "auto" else None)
    assert bridge.mode == mode


def test_a_deadline_is_kept_by_the_realtime_way_of_a_provider_that_delegates():
    hour = timedelta(hours=1)
    assert Bridge(Delegates(Whole()), deadline=hour).deadline == hour
    fallback = Delegates(Whole())
    _, late = Bridge(FakeProvider(), deadline=hour, fallback=fallback).providers
    assert late._batch is fallback


def test_answers_of_a_provider_that_delegates_can_be_kept(tmp_path):
    Bridge(Delegates(Whole()), cache=ResponseCache(tmp_path / "cache.db"))
    with pytest.raises(TypeError, match="identity"):
        Bridge(Delegates(Without()), cache=ResponseCache(tmp_path / "cache.db"))
