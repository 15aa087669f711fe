"""Commands whose options come in groups: each group is a frozen dataclass, and each of its fields an option."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with one option for each field of the dataclasses that it takes.

    ::

        @flat
        def serve(*, listen: ListenOptions, answers: AnswerOptions) -> None: ...

    The name of a field is the name of the option, so no two groups may have a field of one name. A field's annotation
    is `Annotated[type, typer.Option(…)]`, and its default that of the option.
    """
    groups = get_type_hints(command)
    groups.pop("return")
    options = [_option(field, hints) for kind in groups.values() for field, hints in _fields(kind)]

    def called(**given: Any) -> None:
        made = {
            name: kind(**{field.name: given[field.name] for field, _ in _fields(kind)}) for name, kind in groups.items()
        }
        command(**made)

    called.__name__, called.__doc__ = command.__name__, command.__doc__
    called.__annotations__ = {option.name: option.annotation for option in options}
    called.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]  # what typer reads
    return called


def _fields(kind: Any) -> list[tuple[dataclasses.Field[Any], dict[str, Any]]]:
    hints = get_type_hints(kind, include_extras=True)
    return [(field, hints) for field in dataclasses.fields(kind)]


def _option(field: dataclasses.Field[Any], hints: dict[str, Any]) -> inspect.Parameter:
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
    )
