"""What is used of LangGraph that is not public: each name is looked for, so that it is missed by name."""

import logging

import pytest
from langgraph.channels import UntrackedValue
from langgraph.pregel import _loop
from langgraph.pregel._loop import AsyncPregelLoop, PregelLoop, SyncPregelLoop

from batch_bridge._compat import pregel_loop as _pregel
from batch_bridge._node import step_limits as _pregel_legs
from batch_bridge._node import wait as _wait


@pytest.mark.parametrize("name", _pregel.METHODS)
def test_each_wrapped_method_is_of_the_loop_that_both_kinds_share(name):
    assert _wait.wait  # its module wraps them
    assert name in vars(PregelLoop), (
        f"langgraph.pregel._loop.PregelLoop.{name} is gone: see batch_bridge/_compat/pregel_loop.py"
    )
    assert hasattr(vars(PregelLoop)[name], "__wrapped__"), f"PregelLoop.{name} is not wrapped"


@pytest.mark.parametrize("name", [each for each in _pregel.METHODS if each != "put_writes"])
def test_no_kind_of_loop_overrides_what_is_wrapped(name):
    assert all(name not in vars(kind) for kind in (SyncPregelLoop, AsyncPregelLoop)), f"PregelLoop.{name} is overridden"


@pytest.mark.parametrize("name", _pregel.ATTRIBUTES)
def test_each_attribute_of_the_loop_is_there(name):
    assert name in PregelLoop.__annotations__, f"PregelLoop.{name} is gone: see batch_bridge/_compat/pregel_loop.py"


def test_a_subgraph_is_told_that_it_is_resumed_where_it_is_looked_for():
    assert _loop.CONFIG_KEY_RESUMING == _pregel.RESUMING


def test_what_is_sent_is_in_a_list_of_a_channel():
    assert _loop.TASKS == _pregel.TASKS
    from langgraph.channels import Topic

    assert Topic(object).values == []


def test_an_untracked_channel_can_be_set_and_emptied():
    channel = UntrackedValue(int)
    assert not channel.is_available()
    channel.update([7])
    assert channel.get() == 7
    assert not channel.from_checkpoint(None).is_available()


def test_installing_twice_wraps_once():
    assert _wait.wait
    wrapped = PregelLoop._first
    _pregel_legs.install()
    assert PregelLoop._first is wrapped
    assert not hasattr(wrapped.__wrapped__, "__wrapped__")


def test_a_name_that_is_gone_is_said_and_nothing_is_wrapped(monkeypatch, caplog):
    class Other:
        __annotations__ = {name: object for name in _pregel.ATTRIBUTES if name != "stop"}

        def _first(self): ...

        def put_writes(self): ...

        def after_tick(self): ...

    monkeypatch.setattr(_loop, "PregelLoop", Other)
    with caplog.at_level(logging.WARNING, "batch_bridge"):
        _pregel_legs.install()
    assert "_put_checkpoint, stop" in caplog.text
    assert not hasattr(Other._first, "__wrapped__")
