"""`batch-bridge webhooks`: a receiver of webhooks that wakes the owner of a file."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from batch_bridge.errors import MissingPackageError

_USAGE = 2


class _Sender(Enum):
    OPENAI = "openai"
    GEMINI = "gemini"
    OPENROUTER = "openrouter"


def webhooks(
    *,
    file: Annotated[list[Path], typer.Option("--file", help="The file of a Runner or a Batcher; may be given again.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 is any that is free.")] = 8766,
    at: Annotated[
        str | None,
        typer.Option(help="The path that deliveries are posted to.", show_default="/webhooks/ and the sender"),
    ] = None,
    sender: Annotated[_Sender, typer.Option(help="Whose webhooks are received.")] = _Sender.OPENAI,
) -> None:
    """Receive webhooks until Ctrl-C; each has the owner of a file poll what has ended, within a second.

    The signing secret is read from OPENAI_WEBHOOK_SECRET, GEMINI_WEBHOOK_SECRET or OPENROUTER_WEBHOOK_SECRET. Exit code
    2: it is not there, or an option is wrong.
    """
    if missing := [str(each) for each in file if not each.is_file()]:
        typer.echo(
            f"Error: {', '.join(missing)}: there is no such file. Name the file of a Runner or a Batcher", err=True
        )
        raise typer.Exit(_USAGE)
    try:
        from batch_bridge.webhooks._serve import serve  # noqa: PLC0415  # only for this command

        serve(file, host=host, port=port, at=at, told=typer.echo, sender=sender.value)
    except (MissingPackageError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(_USAGE) from error
