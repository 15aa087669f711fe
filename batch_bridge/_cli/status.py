"""`batch-bridge status`: the state of a file of a Runner, a Batcher or Jobs, from another process."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from batch_bridge.errors import MissingPackageError, RunFileError

if TYPE_CHECKING:
    from batch_bridge._status.commands import Verb
    from batch_bridge._status.models import Status

EXIT_CODES: Final = {"done": 0, "failed": 1, "running": 3, "parked": 3, "stuck": 4}
"""What the command ends with, by the state of all; 2 is a file or an option that is wrong."""
USAGE: Final = 2
PATIENCE: Final = 10.0
"""Seconds to wait until a command was carried out."""

File = Annotated[Path, typer.Argument(help="The file of a Runner, a Batcher or Jobs.", show_default=False)]


def status(
    file: File,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Say how a run is, without disturbing it: threads, batches, failures, what is stuck, whether it is alive.

    Exit code: 0 done, 3 running or parked, 1 failed, 4 stuck, 2 no such file.
    """
    from batch_bridge._status.text import to_json, to_text  # noqa: PLC0415

    seen = read(file)
    typer.echo(to_json(seen) if as_json else to_text(seen))
    raise typer.Exit(EXIT_CODES[seen.state])


def watch(
    file: File,
    *,
    web: Annotated[bool, typer.Option("--web", help="Serve it as a page.")] = False,
    host: Annotated[str, typer.Option(help="The page's address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The page's port; 0 is any that is free.")] = 8765,
    token: Annotated[
        str | None, typer.Option(envvar="BATCH_BRIDGE_WATCH_TOKEN", help="The password that the page asks for.")
    ] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="A name that the page may be called by.")] = None,
) -> None:
    """Show what `status` says, live, until it has ended or Ctrl-C; with --web as a page on this machine."""
    if not web:
        from batch_bridge._status.live import show  # noqa: PLC0415

        raise typer.Exit(EXIT_CODES[show(lambda: read(file)).state])
    from batch_bridge._status.extra import require_web  # noqa: PLC0415

    try:
        require_web()
    except MissingPackageError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(USAGE) from error
    from batch_bridge.web._serve import serve  # noqa: PLC0415

    read(file)
    serve(file, host=host, port=port, token=token, allowed=allow_host or (), told=typer.echo)


def read(file: Path) -> "Status":
    """Read a file, or end the command with a line that says why not."""
    from batch_bridge._status.read import read_status  # noqa: PLC0415

    try:
        return read_status(file)
    except RunFileError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(USAGE) from error


Thread = Annotated[str | None, typer.Option(help="Only this thread.", show_default=False)]
Run = Annotated[str | None, typer.Option(help="Only the threads of this run.", show_default=False)]
Batch = Annotated[str | None, typer.Option(help="Only this batch, by our key of it (bb-…).", show_default=False)]
Id = Annotated[str | None, typer.Option("--id", help="Names the command: the same one again is done once.")]


def flush(file: File, *, command_id: Id = None) -> None:
    """Send queued requests now. The process that has the file open sends them."""
    _ask(file, "flush", {}, command_id)


def cancel(file: File, *, thread: Thread = None, run: Run = None, batch: Batch = None, command_id: Id = None) -> None:
    """Have requests cancelled: of a thread, a run, a batch, or all. What is answered by then is paid for."""
    _ask(file, "cancel", {"thread": thread, "run": run, "batch": batch}, command_id)


def retry(file: File, *, thread: Thread = None, run: Run = None, command_id: Id = None) -> None:
    """Run the failed threads of a running run again; they repeat the requests that have failed."""
    _ask(file, "retry", {"thread": thread, "run": run}, command_id)


def pause(file: File, *, command_id: Id = None) -> None:
    """Stop sending, until `resume`. What is on its way is collected."""
    _ask(file, "pause", {}, command_id)


def resume(file: File, *, command_id: Id = None) -> None:
    """Go on with sending."""
    _ask(file, "resume", {}, command_id)


def _ask(file: Path, verb: "Verb", target: dict[str, str | None], command_id: str | None) -> None:
    from batch_bridge._status.commands import CommandRefused, ask, wait_for  # noqa: PLC0415

    named = {name: value for name, value in target.items() if value is not None}
    if len(named) > 1:
        raise typer.BadParameter(f"name one of {', '.join(f'--{name}' for name in named)}, or none for all")
    try:
        key = ask(file, verb, named, command_id=command_id)
        command = wait_for(file, key, PATIENCE)
    except CommandRefused as error:
        typer.echo(f"Refused: {error}", err=True)
        raise typer.Exit(1) from error
    except RunFileError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(USAGE) from error
    if command is None or command.state == "asked":
        typer.echo(f"Asked, and not carried out within {PATIENCE:g} seconds; it will be. Its id is {key}.", err=True)
        raise typer.Exit(EXIT_CODES["running"])
    typer.echo(f"{verb}: {command.said}")
    if command.state == "refused":
        raise typer.Exit(1)
