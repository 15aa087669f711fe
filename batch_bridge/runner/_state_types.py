"""Which data types of the user's a graph may put into its checkpoints: those that its schemas and nodes name."""

import dataclasses
import sys
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, Final, get_args, get_type_hints

from langgraph.pregel import Pregel

_FORMS: Final = ("model_dump", "_asdict", "get_secret_value", "dict")
"""Methods by which LangGraph knows what it can encode: Pydantic's models, named tuples, secrets."""
_DEPTH: Final = 4
"""Functions inside of functions that are looked at."""


def types_of(graph: Any) -> set[type]:
    """Return the data classes, models, enums and named tuples that a graph's state, nodes and subgraphs name.

    Args:
        graph: A builder, or a compiled graph.
    """
    compiled = graph.compile() if hasattr(graph, "compile") and not hasattr(graph, "ainvoke") else graph
    found: set[type] = set()
    seen: set[int] = set()
    for each in _graphs(compiled):
        for hint in _hints(each):
            _collect(hint, found, seen)
    return found


def _graphs(compiled: Any) -> Iterator[Any]:
    if not isinstance(compiled, Pregel):
        return
    yield compiled
    for _, each in compiled.get_subgraphs(recurse=True):
        yield each


def _hints(compiled: Any) -> Iterator[Any]:
    for channel in compiled.channels.values():
        for name in ("ValueType", "UpdateType"):
            try:
                yield getattr(channel, name, None)
            except NotImplementedError:
                continue
    builder = getattr(compiled, "builder", None)
    yield from getattr(builder, "schemas", ())
    for node in getattr(builder, "nodes", {}).values():
        yield getattr(node, "input_schema", None)
    for node in compiled.nodes.values():
        yield from _in_runnable(getattr(node, "bound", None))


def _in_runnable(runnable: Any) -> Iterator[Any]:
    for step in (runnable, *getattr(runnable, "steps", ())):
        for name in ("func", "afunc"):
            yield from _in_function(getattr(step, name, None), _DEPTH)


def _in_function(function: Any, depth: int) -> Iterator[Any]:
    """Yield what a function's annotations, its code and what it encloses name."""
    function = getattr(function, "func", function)  # a partial, or a task
    function = getattr(function, "__wrapped__", function)
    code = getattr(function, "__code__", None)
    if code is None or not depth:
        return
    yield from _annotations(function).values()
    names = getattr(function, "__globals__", {})
    values = [names[name] for name in code.co_names if name in names]
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # not filled yet
            continue
    for value in values:
        for each in (value, getattr(value, "schema", None), *(value.values() if type(value) is dict else ())):
            if isinstance(each, type):
                yield each
            elif getattr(each, "__module__", None) == function.__module__:
                yield from _in_function(each, depth - 1)
            elif isinstance(schema := getattr(each, "schema", None), type):
                yield schema


def _collect(hint: Any, found: set[type], seen: set[int]) -> None:
    if hint is None or id(hint) in seen:
        return
    seen.add(id(hint))
    for each in (*get_args(hint), getattr(hint, "__supertype__", None), getattr(hint, "__value__", None)):
        _collect(each, found, seen)
    if not isinstance(hint, type) or hint.__module__ in ("builtins", "typing"):
        return
    if _is_data(hint):
        found.add(hint)
        if hint.__module__.partition(".")[0] not in ("pydantic", "langchain_core", "langgraph", "enum"):
            _collect_all(hint.__subclasses__(), found, seen)
    _collect_all(_annotations(hint).values(), found, seen)


def _collect_all(hints: Iterable[Any], found: set[type], seen: set[int]) -> None:
    for hint in hints:
        _collect(hint, found, seen)


def _is_data(kind: type) -> bool:
    if kind.__module__.partition(".")[0] in ("pydantic", "enum") and "get_secret_value" not in dir(kind):
        return False
    return dataclasses.is_dataclass(kind) or issubclass(kind, Enum) or any(hasattr(kind, name) for name in _FORMS)


def _annotations(thing: Any) -> dict[str, Any]:
    try:
        return get_type_hints(thing, include_extras=True)
    except Exception:  # noqa: BLE001  # an annotation may be anything that cannot be evaluated now
        names = vars(sys.modules.get(getattr(thing, "__module__", "")) or object)
        raw = getattr(thing, "__annotations__", {})
        return {name: names.get(hint) if isinstance(hint, str) else hint for name, hint in raw.items()}
