"""`batch-bridge tick`: a process that ticks for bridges beside Aegra."""

import logging
from typing import TYPE_CHECKING, Annotated, Final

import typer

from batch_bridge._cli.named import load
from batch_bridge.errors import BatchBridgeError

if TYPE_CHECKING:
    from batch_bridge.bridge import Bridge

USAGE: Final = 2


def tick(
    bridges: Annotated[list[str], typer.Argument(help="'module:name' or 'file.py:name' of a Bridge; several.")],
    *,
    dsn: Annotated[str | None, typer.Option(help="Aegra's database; DATABASE_URL, if it is left out.")] = None,
    url: Annotated[
        str | None, typer.Option(help="Aegra's address, for bridges without client=; SERVER_URL, or port 2026 here.")
    ] = None,
) -> None:
    """Send, poll and deliver for bridges beside Aegra when it is this process's turn, until SIGTERM or Ctrl-C.

    Any number of these processes may run, also beside servers that have `bridge.lifespan()`: one of them ticks. Exit
    code 2: the command is wrong.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        from batch_bridge.bridge import Bridge  # noqa: PLC0415  # the other commands need not wait for it

        made = [load(each, Bridge, "Bridge(…)") for each in bridges]
    except (ImportError, TypeError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(USAGE) from error
    try:
        import asyncio  # noqa: PLC0415

        asyncio.run(_run(made, dsn, url))
    except BatchBridgeError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(USAGE) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def _run(bridges: "list[Bridge]", dsn: str | None, url: str | None) -> None:
    import asyncio  # noqa: PLC0415
    import contextlib  # noqa: PLC0415
    import signal  # noqa: PLC0415

    from batch_bridge.bridge._ticking import ticking  # noqa: PLC0415

    ended = asyncio.Event()
    with contextlib.suppress(NotImplementedError):  # on Windows Ctrl-C is an exception
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with contextlib.AsyncExitStack() as stack:
        for bridge in bridges:
            await stack.enter_async_context(ticking(bridge, dsn=dsn, url=url))
        await ended.wait()
