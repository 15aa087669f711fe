"""`batch-bridge run`: a graph over the lines of a file, from a terminal or from cron."""

import importlib
import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import orjson
import typer

from batch_bridge._cli.lines import read_lines
from batch_bridge.errors import BatchBridgeError, UsageError

if TYPE_CHECKING:  # what the other commands need not wait for
    from batch_bridge._core.pending import Pending
    from batch_bridge.bridge import Bridge
    from batch_bridge.runner import Runner

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
PARKED: Final = 3

_UTF8: Final = orjson.OPT_NON_STR_KEYS


def run(
    graph: Annotated[str, typer.Argument(help="'module:name' or 'file.py:name'; its bridges are found beside it.")],
    inputs: Annotated[Path, typer.Argument(help="Inputs, as JSON, one on each line; - is standard input.")],
    *,
    run_id: Annotated[str, typer.Option(help="Names the run: the same command continues it.")],
    until_parked: Annotated[
        bool, typer.Option("--until-parked", help="End once every thread waits and all is sent, with exit code 3.")
    ] = False,
    path: Annotated[Path, typer.Option(help="The file that holds the run.")] = Path("run.db"),
    out: Annotated[Path | None, typer.Option(help="Where the results go, as a whole; else to standard output.")] = None,
    max_concurrency: Annotated[int | None, typer.Option(min=1, help="Threads that run at the same time.")] = None,
    progress: Annotated[bool | None, typer.Option(help="Show a progress bar; by default in a terminal.")] = None,
) -> None:
    """Run a graph over inputs, and print the results as JSON lines, in order.

    Each line has `index` and one of `result`, `error` (`type`, `message`) and `pending` (`since`, `batches`, `queued`).
    Exit codes: 0 all have ended; 1 some have failed, and the same command runs those again; 2 the command, or the
    program, is wrong; 3 some wait for a batch, and the same command continues them.
    """
    import asyncio  # noqa: PLC0415  # as what follows, the other commands need not wait for it

    from batch_bridge._core.pending import Pending  # noqa: PLC0415
    from batch_bridge.runner import Runner  # noqa: PLC0415

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        built, bridges = _load(graph)
        values = list(read_lines(inputs).values())
        on_pending = "return" if until_parked else "wait"
        options: dict[str, Any] = {"run_id": run_id, "on_pending": on_pending, "max_concurrency": max_concurrency}
        results = asyncio.run(_run(Runner(built, bridges, path=path, progress=progress), values, options))
    except (UsageError, TypeError, ValueError, OSError, ImportError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(USAGE) from error
    except BatchBridgeError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(FAILED) from error
    _write(results, out)
    failed = sum(isinstance(each, Exception) for each in results)
    parked = [each for each in results if isinstance(each, Pending)]
    typer.echo(_summary(len(results), failed, parked), err=True)
    raise typer.Exit(PARKED if parked else FAILED if failed else DONE)


async def _run(runner: "Runner", inputs: list[Any], options: dict[str, Any]) -> list[Any]:
    async with runner:
        results: list[Any] = await runner.abatch(inputs, return_exceptions=True, **options)
        return results


def _load(name: str) -> "tuple[Any, list[Bridge]]":
    """Return a graph by its name, and the bridges that its module holds.

    Raises:
        ValueError: There is no such module or name, or it holds no bridge.
    """
    from batch_bridge.bridge import Bridge  # noqa: PLC0415

    module_name, colon, attribute = name.rpartition(":")
    if not colon or not module_name or not attribute:
        raise ValueError(f"{name!r} names no graph; give module:name, or file.py:name")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  # where `python -m` would look for it too
    if module_name.endswith(".py"):
        file = Path(module_name).resolve()
        sys.path.insert(0, str(file.parent))
        module_name = file.stem
    module = importlib.import_module(module_name)
    graph = getattr(module, attribute, None)
    if graph is None:
        raise ValueError(f"{module_name} has no {attribute!r}")
    bridges = [each for each in vars(module).values() if isinstance(each, Bridge)]
    bridges = list({each.name: each for each in bridges}.values())
    if not bridges:
        raise ValueError(f"{module_name} holds no bridge beside {attribute!r}; write: bridge = Bridge(…) there")
    return graph, bridges


def _write(results: list[Any], out: Path | None) -> None:
    if out is None:
        _write_to(sys.stdout.buffer, results)
        sys.stdout.flush()
        return
    with tempfile.NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}.", delete=False) as file:
        _write_to(file, results)  # type: ignore[arg-type]
    Path(file.name).replace(out)


def _write_to(file: BinaryIO, results: list[Any]) -> None:
    file.writelines(orjson.dumps(row, default=_plain, option=_UTF8) + b"\n" for row in _rows(results))


def _rows(results: list[Any]) -> Iterator[dict[str, Any]]:
    from batch_bridge._core.pending import Pending  # noqa: PLC0415

    for index, result in enumerate(results):
        match result:
            case Pending():
                batches = [
                    {
                        "bridge": each.bridge,
                        "batch": each.key,
                        "handle": each.handle,
                        "since": each.since,
                        "done": each.done,
                        "total": each.total,
                    }
                    for each in result.batches
                ]
                pending = {"since": result.since, "queued": result.queued, "batches": batches}
                yield {"index": index, "pending": pending}
            case Exception():
                yield {"index": index, "error": {"type": type(result).__name__, "message": str(result)}}
            case _:
                yield {"index": index, "result": result}


def _plain(value: object) -> Any:
    """Return a value that JSON does not know as one that it does: a message, a model, a set."""
    from pydantic import BaseModel  # noqa: PLC0415

    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)


def _summary(count: int, failed: int, parked: "list[Pending]") -> str:
    said = f"{count} inputs: {count - failed - len(parked)} done, {failed} failed, {len(parked)} wait"
    batches = {batch.key: batch for each in parked for batch in each.batches}
    if not batches:
        return said
    told = sum(batch.done or 0 for batch in batches.values())
    since = min(batch.since for batch in batches.values()).isoformat(timespec="seconds")
    total = sum(batch.total or 0 for batch in batches.values())
    return f"{said} for {len(batches)} batches since {since}" + (f" ({told} of {total} requests done)" if total else "")
