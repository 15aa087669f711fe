"""A process that is forked off while the collector is relaxed has Python's own thresholds back."""

import gc
import os

import pytest

from batch_bridge._host.garbage_collector import DEFAULTS, RELAXED, relaxed


@pytest.fixture(autouse=True)
def _as_it_was():
    before = gc.get_threshold()
    gc.set_threshold(*DEFAULTS[0])
    yield
    gc.set_threshold(*before)


def in_fork(check):
    """Return whether a check holds in a process that is forked off."""
    child = os.fork()
    if not child:
        good = False
        try:
            good = check()
        finally:
            os._exit(0 if good else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_thresholds_are_back_in_a_fork_and_can_be_relaxed_there():
    def check():
        first = gc.get_threshold()
        with relaxed():
            inside = gc.get_threshold()
        return (first, inside, gc.get_threshold()) == (DEFAULTS[0], RELAXED, DEFAULTS[0])

    with relaxed():
        assert in_fork(check)
        assert gc.get_threshold() == RELAXED
    assert gc.get_threshold() == DEFAULTS[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_block_that_a_fork_leaves_changes_nothing_there():
    def check():
        block.__exit__(None, None, None)
        gc.set_threshold(5, 5, 5)
        with relaxed():
            pass
        return gc.get_threshold() == (5, 5, 5)

    block = relaxed()
    with block:
        assert in_fork(check)
