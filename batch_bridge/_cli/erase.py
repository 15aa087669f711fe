"""`batch-bridge erase`: what a file holds of threads, so that its bytes are gone."""

from pathlib import Path
from typing import Annotated

import typer

from batch_bridge.errors import RunFileError


def erase(
    file: Annotated[Path, typer.Argument(help="The file of a closed Runner.")],
    thread: Annotated[list[str], typer.Option(help="The thread; may be repeated.")],
) -> None:
    """Erase threads from a Runner's file: checkpoints, prompts, answers."""
    from batch_bridge._sqlite.erasure import erase_thread  # noqa: PLC0415  # the other commands need not wait for it

    try:
        for each in thread:
            erased = erase_thread(file, each)
            typer.echo(f"{each}: erased {erased.checkpoints} checkpoints and {erased.requests} rows of requests.")
    except RunFileError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
