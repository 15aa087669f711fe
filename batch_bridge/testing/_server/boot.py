"""Starts the server's process by path, without the rest of the library, which takes longer to import.

The package `batch_bridge` stays an empty shell until code, such as a user's answerer, asks it for a name.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, cast


class _Later(ModuleType):
    """A package whose `__init__` runs when a name is asked for that it does not have yet."""

    def __getattr__(self, name: str) -> Any:
        loader = self.__spec__.loader if self.__spec__ is not None else None
        if loader is None or (name.startswith("__") and name != "__version__"):
            raise AttributeError(name)
        self.__class__ = cast("type[Any]", ModuleType)
        loader.exec_module(self)
        return getattr(self, name)


def boot() -> int:
    """Put the package in place and run the server."""
    root = Path(__file__).resolve().parents[2]
    del sys.path[0]  # this script's own folder, where nothing is to be imported from
    spec = spec_from_file_location("batch_bridge", root / "__init__.py", submodule_search_locations=[str(root)])
    if spec is None:
        raise ImportError(f"{root} is not a package.")
    package = module_from_spec(spec)
    package.__class__ = cast("type[Any]", _Later)
    sys.modules["batch_bridge"] = package
    from batch_bridge.testing.__main__ import main  # noqa: PLC0415 - not before the package is in place

    return main()


if __name__ == "__main__":
    sys.exit(boot())
