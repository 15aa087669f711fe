"""The garbage collector is relaxed while somebody asks for it, and only if nobody has tuned it."""

import gc

import pytest
from langgraph.graph import StateGraph

from batch_bridge import Batcher, Bridge, Runner
from batch_bridge._host.garbage_collector import DEFAULTS, RELAXED, relaxed


@pytest.fixture(autouse=True)
def _thresholds():
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.mark.parametrize("default", DEFAULTS, ids=str)
def test_the_last_of_several_puts_the_thresholds_back(default):
    gc.set_threshold(*default)
    with relaxed():
        with relaxed():
            assert gc.get_threshold() == RELAXED
        assert gc.get_threshold() == RELAXED
    assert gc.get_threshold() == default


@pytest.mark.parametrize(("options", "expected"), [({}, RELAXED), ({"relax_gc": False}, DEFAULTS[0])])
async def test_a_runner_relaxes_the_collector_unless_it_is_told_not_to(options, expected):
    gc.set_threshold(*DEFAULTS[0])
    graph = StateGraph(dict).add_node("node", lambda state: state).add_edge("__start__", "node")
    bridge = Bridge(submit=lambda items: items, poll=lambda handle: handle)
    async with Runner(graph, bridge, path=":memory:", progress=False, **options):
        assert gc.get_threshold() == expected
    assert gc.get_threshold() == DEFAULTS[0]


def test_what_somebody_sets_meanwhile_stays():
    gc.set_threshold(*DEFAULTS[0])
    with relaxed():
        gc.set_threshold(1000, 5, 5)
    assert gc.get_threshold() == (1000, 5, 5)


def test_thresholds_that_somebody_has_set_are_left_alone():
    gc.set_threshold(5000, 5, 5)
    with relaxed():
        assert gc.get_threshold() == (5000, 5, 5)
    assert gc.get_threshold() == (5000, 5, 5)


@pytest.mark.parametrize(("options", "expected"), [({}, RELAXED), ({"relax_gc": False}, DEFAULTS[0])])
def test_a_batcher_relaxes_the_collector_while_many_requests_wait(options, expected):
    gc.set_threshold(*DEFAULTS[0])
    seen = []

    def poll(handle):
        seen.append(gc.get_threshold())
        return handle

    with Batcher(submit_func=lambda items: items, poll_func=poll, poll_interval=0.01, **options) as batcher:
        assert batcher.map(["a few"]) == ["a few"]
        assert set(seen) == {DEFAULTS[0]}
        seen.clear()
        assert len(batcher.map(range(1000))) == 1000
        assert set(seen) == {expected}
    assert gc.get_threshold() == DEFAULTS[0]
