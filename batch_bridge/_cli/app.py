"""The command `batch-bridge`."""

from typing import Annotated

import typer

from batch_bridge import __version__
from batch_bridge._cli import erase, jobs, money, run, serve, status, tick, webhooks, worker

app = typer.Typer(
    name="batch-bridge",
    help="LangGraph agents on batch APIs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # help and errors in plain text: rich takes longer to load than all else
    context_settings={"max_content_width": 120},
)

app.add_typer(jobs.app, name="jobs")
for _command in (
    serve.serve,
    run.run,
    status.status,
    status.watch,
    status.flush,
    status.cancel,
    status.retry,
    status.pause,
    status.resume,
    money.cost,
    money.quote,
    erase.erase,
    worker.worker,
    tick.tick,
    webhooks.webhooks,
):
    app.command()(_command)


def _tell_version(is_asked: bool) -> None:  # noqa: FBT001
    if is_asked:
        typer.echo(f"batch-bridge {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    *,
    version: Annotated[  # the callback sees to it
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """LangGraph agents on batch APIs."""
