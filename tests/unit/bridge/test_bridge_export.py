"""What loaders of graphs ask of a bridge that a configuration names as a graph."""

import inspect
import typing

from langgraph.pregel import Pregel

from batch_bridge import Bridge


def test_a_loader_may_ask_a_bridge_what_it_would_ask_a_function():
    """Aegra reads the parameters and the hints of what it is given, and then calls it."""
    bridge = Bridge(submit=list, poll=list)
    assert not inspect.signature(bridge).parameters
    assert typing.get_type_hints(bridge, localns={}) == {}
    assert isinstance(bridge(), Pregel)
