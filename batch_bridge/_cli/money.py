"""`batch-bridge cost` and `batch-bridge quote`: what a file has cost, and what a file of requests will."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import orjson
import typer

if TYPE_CHECKING:
    from rich.table import Table

    from batch_bridge._money import AccountLine, Ask, Cost

_SHOWN = 5
"""Runs that an error names."""
_WIDTH = 120
"""Characters of a line without a terminal."""
_ROWS = "SELECT prefix, key, value FROM store WHERE prefix GLOB 'batch_bridge.*.{}'"


def cost(
    path: Annotated[Path, typer.Argument(help="The file of a Runner, a Batcher or Jobs.", metavar="FILE")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; amounts are exact strings.")] = False,
    run_id: Annotated[str | None, typer.Option(help="Of this run alone.")] = None,
) -> None:
    """Print what a run has cost, also while it is under way. Prices are those of genai-prices, as it is installed."""
    from batch_bridge._money import Prices, receipt  # noqa: PLC0415  # the other commands need not wait for it
    from batch_bridge.errors import RunFileError  # noqa: PLC0415

    try:
        every, untold = _lines(path)
    except RunFileError as error:
        _fail(str(error), error)
    runs = sorted({line.who.run for line in every if line.who.run})
    if run_id is not None and run_id not in runs:
        named = f"it has {', '.join(map(repr, runs[:_SHOWN]))}" if runs else "it has none with a name"
        _fail(f"{path} has no run {run_id!r} of which a batch has ended; {named}{' and others' * (len(runs) > _SHOWN)}")
    cost = receipt([(Prices(), [line for line in every if run_id in (None, line.who.run)])])
    if untold:
        typer.echo(f"{untold:,} batches ended under a version that noted no usage: they are not in it", err=True)
    if as_json:
        from batch_bridge._money.receipt import to_json  # noqa: PLC0415

        typer.echo(orjson.dumps(to_json(cost), option=orjson.OPT_INDENT_2))
    else:
        from rich.console import Console  # noqa: PLC0415

        Console(width=None if sys.stdout.isatty() else _WIDTH).print(_table(cost))


def quote(
    path: Annotated[Path, typer.Argument(help="Lines as OpenAI's Batch API takes them.", metavar="FILE.jsonl")],
    *,
    vendor: Annotated[str, typer.Option(help="Whose prices: openai, azure, anthropic, google, groq, …")] = "openai",
    model: Annotated[str, typer.Option(help="For lines that name none.")] = "",
    output_tokens: Annotated[
        int | None, typer.Option(min=0, help="What one answer is likely to hold; without it, the most that is allowed.")
    ] = None,
) -> None:
    """Print what a file of requests will cost. Nothing is sent."""
    from batch_bridge._money import Prices, Tokens, of_asks  # noqa: PLC0415

    asks = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    asks.append(_ask(line, model, f"{path}, line {number}"))
    except OSError as error:
        _fail(f"{path} cannot be read: {error.strerror}. Name a file with one request on each line", error)
    now, prices = datetime.now(UTC), Prices()
    typer.echo(str(of_asks(asks, prices, vendor, batches=None, now=now, output_tokens=output_tokens)))
    for name in dict.fromkeys(each.model for each in asks):
        if not name:
            typer.echo("Some lines name no model; say which they mean: --model NAME", err=True)
        elif prices.charge(vendor, name, Tokens(input=1), lane="realtime", tier="", at=now).paid is None:
            typer.echo(f"No price is known of {name!r} at {vendor!r}; is it the right --vendor?", err=True)


def _fail(why: str, error: Exception | None = None) -> NoReturn:
    typer.echo(f"Error: {why}", err=True)
    raise typer.Exit(2) from error


def _ask(line: bytes, model: str, where: str) -> "Ask":
    from batch_bridge._money import Ask  # noqa: PLC0415

    try:
        read: Any = orjson.loads(line)
    except ValueError as error:
        _fail(f"{where} is no JSON: {error.args[0].partition(':')[0]}", error)
    if not isinstance(read, dict):
        _fail(f'{where} is no JSON object; a line is a request, such as {{"body": {{"model": …, "messages": …}}}}')
    body = next((read[name] for name in ("body", "params", "request") if isinstance(read.get(name), dict)), read)
    has_output = not str(read.get("url", "")).endswith(("/embeddings", "/moderations"))
    return Ask(str(body.get("model") or model), body, has_output)


def _lines(path: Path) -> "tuple[list[AccountLine], int]":
    """Return the usage of a file's ended batches, and how many of them have no usage.

    Raises:
        RunFileError: It is not there, no such file, or cannot be read.
    """
    from batch_bridge._money import Account  # noqa: PLC0415
    from batch_bridge._status.file import read_only  # noqa: PLC0415
    from batch_bridge.errors import RunFileError  # noqa: PLC0415

    with read_only(path) as connection:
        is_open, closed = (
            {(prefix.rpartition(".")[0], key) for prefix, key, _ in connection.execute(_ROWS.format(kind))}
            for kind in ("batches", "closed")
        )
        found = connection.execute(_ROWS.format("money")).fetchall()
    lines: list[AccountLine] = []
    for prefix, key, value in found:
        place = prefix.rpartition(".")[0], key
        closed.discard(place)
        try:
            account = Account.from_row(orjson.loads(value))
        except (TypeError, ValueError, LookupError) as error:
            raise RunFileError(
                f"{path}: the receipt of batch {key} cannot be read ({type(error).__name__}): the file was damaged or "
                "edited. Restore it from a copy"
            ) from error
        if place not in is_open and (account.lane or key.startswith("hit-")):
            lines += account.each()
    return lines, len(closed)


def _table(cost: "Cost") -> "Table":
    from rich.table import Table  # noqa: PLC0415

    from batch_bridge._money import shown  # noqa: PLC0415

    table = Table("", "requests", "input", "output", "paid", "in realtime", "saved", title="What it has cost")
    parts = [*cost.by_model.items(), *cost.by_lane.items()]
    for name, line in [*parts, ("all", cost)]:
        amounts = [shown(each, cost.currency) for each in (line.paid, line.list_price, line.saved)]
        table.add_row(
            name or "(no model)", f"{line.requests:,}", f"{line.input_tokens:,}", f"{line.output_tokens:,}", *amounts
        )
    return table
