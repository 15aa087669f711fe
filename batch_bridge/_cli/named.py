"""What a program has made, by its name on the command line."""

import importlib
import os
import sys
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def load(name: str, kind: type[T], example: str) -> T:
    """Return what `name` names: `module:name`, or `file.py:name`.

    Args:
        name: As it was given.
        kind: What it must be.
        example: How one is made.

    Raises:
        ValueError: The name is invalid.
        TypeError: There is no such thing of that name.
    """
    what = kind.__name__
    module_name, _, attribute = name.rpartition(":")
    if not module_name or not attribute:
        raise ValueError(f"{name!r} names no {what}; give module:name, or file.py:name")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  # where `python -m` would look for it too
    if module_name.endswith(".py"):
        file = Path(module_name).resolve()
        sys.path.insert(0, str(file.parent))
        module_name = file.stem
    made = getattr(importlib.import_module(module_name), attribute, None)
    if not isinstance(made, kind):
        raise TypeError(f"{name!r} is no {what}; write there: {attribute} = {example}")
    return made
