"""`batch-bridge jobs`: jobs from the command line, with the bridges of a configuration file."""

import dataclasses
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
import typer

from batch_bridge._cli.lines import ARRAY, read
from batch_bridge._core.json import text as _text
from batch_bridge.errors import BatchBridgeError

if TYPE_CHECKING:  # what the other commands need not wait for
    from batch_bridge.jobs import Jobs, JobStatus

app: Final = typer.Typer(
    help="Jobs without a waiting process: submit today, collect tomorrow.", no_args_is_help=True, add_completion=False
)

Config = Annotated[Path, typer.Option(help="The configuration file of the bridges.")]
Bridge = Annotated[str | None, typer.Option(help="The bridge; required if there are several.")]
File = Annotated[Path, typer.Option(help="The file of the jobs.")]
Handle = Annotated[str, typer.Argument(help="The handle that `jobs submit` printed.")]

_CONFIG: Final = Path("bridges.toml")
_FILE: Final = Path("jobs.db")


@app.command()
def submit(
    items: Annotated[
        Path, typer.Argument(help="Items as JSON, one on each line, as in OpenAI's batch files; - is standard input.")
    ],
    config: Config = _CONFIG,
    bridge: Bridge = None,
    file: File = _FILE,
    key: Annotated[str | None, typer.Option(help="Names the job, so that it is submitted only once.")] = None,
) -> None:
    """Send items, and print the job's handle."""
    from batch_bridge.jobs._job_items import named  # noqa: PLC0415

    with _said():
        lines = sys.stdin.buffer if str(items) == "-" else items.open("rb")
        with lines:
            read = _read(lines)
        named(read.values(), tuple(read))  # two of one name are said with their lines
        typer.echo(_jobs(config, bridge, file).submit(list(read.values()), key=key))


@app.command()
def status(handle: Handle, config: Config = _CONFIG, bridge: Bridge = None, file: File = _FILE) -> None:
    """Poll the provider, and print the state of a job as JSON."""
    with _said():
        _print(_jobs(config, bridge, file).status(handle))


@app.command()
def results(handle: Handle, config: Config = _CONFIG, bridge: Bridge = None, file: File = _FILE) -> None:
    """Print the requests that have ended, in order: `{"index", "kind", "answer" or the error}`, one on each line.

    If the items had a `custom_id`, each row contains it.
    """
    from batch_bridge._core import outcomes as _outcome  # noqa: PLC0415

    with _said():
        for result in _jobs(config, bridge, file).results(handle):
            row = {"index": result.index, **_outcome.shown(result.outcome)}
            if result.name is not None:
                row = {"custom_id": result.name, **row, "name": result.name}
            typer.echo(_text.write(row))


@app.command()
def cancel(handle: Handle, config: Config = _CONFIG, bridge: Bridge = None, file: File = _FILE) -> None:
    """Cancel a job. Completed answers are kept, and paid for."""
    with _said():
        _print(_jobs(config, bridge, file).cancel(handle))


@app.command()
def join(
    handle: Handle,
    config: Config = _CONFIG,
    bridge: Bridge = None,
    file: File = _FILE,
    timeout: Annotated[str | None, typer.Option(help="How long to wait, such as 30m; without it, forever.")] = None,
) -> None:
    """Wait until a job has ended, and print where it is, as JSON. Exit code 3: it has not ended in time."""
    with _said():
        try:
            _print(_jobs(config, bridge, file).join(handle, timeout=timeout))
        except TimeoutError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(3) from error


@app.command()
def forget(handle: Handle, config: Config = _CONFIG, bridge: Bridge = None, file: File = _FILE) -> None:
    """Delete a job and its results from the file."""
    with _said():
        _jobs(config, bridge, file).forget(handle)


@app.command("list")
def list_(config: Config = _CONFIG, bridge: Bridge = None, file: File = _FILE) -> None:
    """Poll the provider, and print all jobs, oldest first: handle, state, date and key, with tabs between."""
    with _said():
        for status in _jobs(config, bridge, file).statuses():
            key = "".join(each if each.isprintable() else " " for each in status.key)
            at = status.submitted_at.isoformat(timespec="seconds")
            typer.echo(f"{status.handle}\t{status.state}\t{at}\t{key}".rstrip())


def _read(file: Iterable[bytes]) -> dict[str, Any]:
    """Return a file's items by where they stand; see `read`.

    Raises:
        ValueError: A line is not JSON, or the whole file is one array.
    """
    items = read(file)
    if len(items) == 1 and _is_array(*items.values()):
        raise ValueError(ARRAY)
    return items


def _is_array(item: Any) -> bool:
    """Return whether a file's only item is an array of items: a conversation is an item, too."""
    return isinstance(item, list) and not all(isinstance(each, dict) and "role" in each for each in item)


def _jobs(config: Path, name: str | None, file: Path) -> "Jobs":
    from batch_bridge.bridge._config import load_bridges  # noqa: PLC0415
    from batch_bridge.jobs import Jobs  # noqa: PLC0415

    bridges = load_bridges(config)
    known = ", ".join(bridges)
    if name is None and len(bridges) > 1:
        raise typer.BadParameter(f"{config} has several bridges: {known}; choose one.", param_hint="--bridge")
    if name is not None and name not in bridges:
        raise typer.BadParameter(f"{config} has no bridge {name!r}; it has {known}.", param_hint="--bridge")
    return Jobs(file, bridges[next(iter(bridges)) if name is None else name])


def _print(status: "JobStatus") -> None:
    typer.echo(orjson.dumps(_plain(status), option=orjson.OPT_INDENT_2))


def _plain(status: "JobStatus") -> dict[str, Any]:
    row = dataclasses.asdict(status)
    row["submitted_at"] = status.submitted_at.isoformat(timespec="seconds")
    return row


@contextmanager
def _said() -> Iterator[None]:
    """Print an error as one line, for a terminal."""
    try:
        yield
    except (BatchBridgeError, OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
