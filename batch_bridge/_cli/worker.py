"""`batch-bridge worker`: a process of a pool."""

import logging
from typing import Annotated, Final

import typer

from batch_bridge._cli.named import load
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
        from batch_bridge.pool import Pool  # noqa: PLC0415

        made = load(pool, Pool, "Pool(graph, bridge, dsn=…)")
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
