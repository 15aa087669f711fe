"""The arguments of public functions are named and typed: an editor completes them, and mypy checks them."""

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

MODULES = (
    "batch_bridge",
    "batch_bridge.events",
    "batch_bridge.langchain",
    "batch_bridge.providers",
    "batch_bridge.providers.anthropic",
    "batch_bridge.providers.azure",
    "batch_bridge.providers.gemini",
    "batch_bridge.providers.openai",
    "batch_bridge.testing",
    "batch_bridge.testing.conformance",
)
LOOSE = (inspect.Parameter.empty, Any, object)
OPEN = {
    "batch_bridge.providers.create": "the options of the class that is named, which it checks",
}
"""Functions whose further arguments are not named, and why."""


def functions(module: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    surface = import_module(module)
    for name in getattr(surface, "__all__", [each for each in vars(surface) if each.endswith("Batch")]):
        value = getattr(surface, name)
        if inspect.isfunction(value):
            yield f"{module}.{name}", value
        elif inspect.isclass(value) and not is_protocol(value) and value.__module__.startswith("batch_bridge"):
            for own, member in vars(value).items():
                function = getattr(member, "__func__", member)
                if inspect.isfunction(function) and (own == "__init__" or not own.startswith("_")):
                    yield f"{module}.{name}.{own}", function


def is_protocol(kind: type) -> bool:
    return getattr(kind, "_is_protocol", False)


@pytest.mark.parametrize("module", MODULES)
def test_no_argument_is_anything(module):
    loose = [
        name
        for name, function in functions(module)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) and parameter.annotation in LOOSE
    ]
    assert [name for name in loose if name not in OPEN] == []
