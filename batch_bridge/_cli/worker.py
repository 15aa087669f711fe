"""`batch-bridge worker`: a process of a pool."""

import importlib
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from batch_bridge.errors import BatchBridgeError

USAGE: Final = 2


def worker(
    pool: Annotated[str, typer.Argument(help="'module:name' or 'file.py:name' of a Pool.")],
) -> None:
    """Run threads of a pool, and tick when it is this process's turn, until SIGTERM or Ctrl-C.

    What runs then is given ten seconds to end; the rest is run by other processes. Exit code 2: the command is wrong.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("procrastinate").setLevel(logging.WARNING)
    try:
        made = _load(pool)
    except (ImportError, TypeError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(USAGE) from error
    try:
        import asyncio  # noqa: PLC0415  # the other commands need not wait for it

        asyncio.run(made.run())
    except BatchBridgeError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _load(name: str) -> Any:
    """Return a pool by its name.

    Raises:
        ValueError: The name is none.
        TypeError: There is no pool of that name.
    """
    from batch_bridge.pool import Pool  # noqa: PLC0415

    module_name, _, attribute = name.rpartition(":")
    if not module_name or not attribute:
        raise ValueError(f"{name!r} names no pool; give module:name, or file.py:name")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  # where `python -m` would look for it too
    if module_name.endswith(".py"):
        file = Path(module_name).resolve()
        sys.path.insert(0, str(file.parent))
        module_name = file.stem
    made = getattr(importlib.import_module(module_name), attribute, None)
    if not isinstance(made, Pool):
        raise TypeError(f"{name!r} is no Pool; write there: {attribute} = Pool(graph, bridge, dsn=…)")
    return made
