"""On a server where bridges are ticked for outside of runs, the first wait says what is missing."""

from types import SimpleNamespace
from uuid import uuid4

import pytest
from langgraph.store.memory import InMemoryStore

from batch_bridge._node.platform import tickers
from batch_bridge._node.platform.announce import user_of
from batch_bridge._node.platform.tickers import check_ticked, say_ticks, ticks_apart
from batch_bridge.errors import BridgeUnreachableError, UnknownBatcherError

THREAD = str(uuid4())


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(tickers, "_found", {})


async def test_a_bridge_that_nobody_ticks_for_is_an_error():
    store = InMemoryStore()
    await say_ticks(store, "other", acts=False)
    with pytest.raises(UnknownBatcherError, match=r"'bridge'.*known: 'other'.*bridge.lifespan\(\).*batch-bridge tick"):
        await check_ticked(store, ["bridge"], "", THREAD, patience=0.0, look=0.0)


async def test_a_bridge_that_is_ticked_for_is_looked_up_once():
    store = InMemoryStore()
    await say_ticks(store, "bridge", acts=False)
    await check_ticked(store, ["bridge"], "", THREAD)
    await check_ticked(None, ["bridge"], "", THREAD)
    assert tickers._found.keys() == {("bridge", False)}


async def test_the_thread_of_a_user_needs_an_identity_of_the_bridge():
    store = InMemoryStore()
    await say_ticks(store, "bridge", acts=False)
    with pytest.raises(BridgeUnreachableError, match=r"'ada'.*client=lambda user"):
        await check_ticked(store, ["bridge"], "ada", THREAD)
    await say_ticks(store, "bridge", acts=True)
    await check_ticked(store, ["bridge"], "ada", THREAD)


async def test_a_thread_whose_id_is_no_uuid_is_an_error():
    with pytest.raises(BridgeUnreachableError, match="UUID"):
        await check_ticked(InMemoryStore(), ["bridge"], "", "chat-7")


async def test_who_is_silent_for_long_is_warned_of(caplog):
    store = InMemoryStore()
    await say_ticks(store, "bridge", acts=False)
    await check_ticked(store, ["bridge"], "", THREAD, quiet_after=-1.0)
    assert "no process has said" in caplog.text


def test_a_server_that_names_no_graph_is_one_of_these():
    assert ticks_apart(SimpleNamespace(graph_id=""))
    assert not ticks_apart(SimpleNamespace(graph_id="agent"))
    assert not ticks_apart(None)


def test_nobody_is_no_user():
    nobody = SimpleNamespace(identity="anonymous", is_authenticated=False)
    assert not user_of(SimpleNamespace(server_info=SimpleNamespace(user=nobody)))
    somebody = SimpleNamespace(identity="anonymous", is_authenticated=True)
    assert user_of(SimpleNamespace(server_info=SimpleNamespace(user=somebody))) == "anonymous"
