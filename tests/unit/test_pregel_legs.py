"""What is used of LangGraph that is not public: each name is looked for, so that it is missed by name."""

import inspect

import pytest
from langgraph.channels.untracked_value import UntrackedValue
from langgraph.pregel import _loop
from langgraph.pregel._loop import AsyncPregelLoop, PregelLoop, SyncPregelLoop

from batch_bridge import _pregel_legs


@pytest.mark.parametrize("name", ["_first", "_put_checkpoint"])
def test_each_hook_is_a_method_of_the_loop_that_both_kinds_share(name):
    where = f"langgraph.pregel._loop.PregelLoop.{name} is gone: see batch_bridge/_pregel_legs.py"
    assert name in vars(PregelLoop), where
    assert all(name not in vars(kind) for kind in (SyncPregelLoop, AsyncPregelLoop)), f"{name} is overridden: {where}"


@pytest.mark.parametrize(
    "name", ["step", "stop", "config", "channels", "checkpoint_metadata", "checkpointer", "input", "is_nested"]
)
def test_each_attribute_of_the_loop_is_there(name):
    source = inspect.getsource(_loop)
    assert f"self.{name}" in source, f"PregelLoop.{name} is gone: see batch_bridge/_pregel_legs.py"


def test_a_resume_map_stands_where_it_is_looked_for():
    assert _loop.CONFIG_KEY_RESUME_MAP == _pregel_legs._RESUME_MAP


def test_an_untracked_channel_can_be_set():
    channel = UntrackedValue(int)
    assert not channel.is_available()
    channel.update([7])
    assert channel.get() == 7


def test_installing_twice_hooks_once():
    hooked = PregelLoop._first
    _pregel_legs.install()
    assert PregelLoop._first is hooked
