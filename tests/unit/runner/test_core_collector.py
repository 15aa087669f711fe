"""The garbage collector is relaxed while somebody asks for it, and only if nobody has tuned it."""

import gc

import pytest

from batch_bridge.runner._garbage_collector import DEFAULT, RELAXED, relaxed


@pytest.fixture(autouse=True)
def _thresholds():
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_the_last_of_several_puts_the_thresholds_back():
    gc.set_threshold(*DEFAULT)
    with relaxed():
        with relaxed():
            assert gc.get_threshold() == RELAXED
        assert gc.get_threshold() == RELAXED
    assert gc.get_threshold() == DEFAULT


def test_thresholds_that_somebody_has_set_are_left_alone():
    gc.set_threshold(5000, 5, 5)
    with relaxed():
        assert gc.get_threshold() == (5000, 5, 5)
    assert gc.get_threshold() == (5000, 5, 5)
