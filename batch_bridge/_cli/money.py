"""`batch-bridge cost` and `batch-bridge quote`: what a file has cost, and what a file of requests will."""

import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

if TYPE_CHECKING:
    from rich.table import Table

    from batch_bridge._money import AccountLine, Ask, Cost

_WIDTH = 120
"""Characters of a line where no terminal says how many there are."""
_ROWS = "SELECT prefix, key, value FROM store WHERE prefix GLOB 'batch_bridge.*.{}'"


def cost(
    path: Annotated[Path, typer.Argument(help="The file of a Runner, a Batcher or Jobs.", metavar="FILE")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; amounts are exact strings.")] = False,
    run_id: Annotated[str | None, typer.Option(help="Of this run alone.")] = None,
) -> None:
    """Print what a run has cost, also while it is under way. Prices are those of genai-prices, as it is installed."""
    import sqlite3  # noqa: PLC0415  # as what follows, the other commands need not wait for it

    from batch_bridge._money import Prices, receipt  # noqa: PLC0415

    try:
        lines = [line for line in _lines(path) if run_id in (None, line.who.run)]
        cost = receipt([(Prices(), lines)])
    except (OSError, sqlite3.Error, ValueError, KeyError, TypeError) as error:
        typer.echo(f"{path} cannot be read as the file of a Runner, a Batcher or Jobs: {error}", err=True)
        raise typer.Exit(2) from error
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
    from batch_bridge._money import Prices, of_asks  # noqa: PLC0415

    try:
        with path.open("rb") as file:
            asks = [_ask(line, model) for line in file if line.strip()]
    except (OSError, ValueError) as error:
        typer.echo(f"{path}: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(str(of_asks(asks, Prices(), vendor, batches=None, now=datetime.now(UTC), output_tokens=output_tokens)))


def _ask(line: bytes, model: str) -> "Ask":
    from batch_bridge._money import Ask  # noqa: PLC0415

    read: Any = orjson.loads(line)
    if not isinstance(read, dict):
        raise ValueError("a line is no JSON object")  # noqa: TRY004  # reported as what it is: a bad file
    body = next((read[name] for name in ("body", "params", "request") if isinstance(read.get(name), dict)), read)
    has_output = not str(read.get("url", "")).endswith(("/embeddings", "/moderations"))
    return Ask(str(body.get("model") or model), body, has_output)


def _lines(path: Path) -> "list[AccountLine]":
    import sqlite3  # noqa: PLC0415

    from batch_bridge._money import Account  # noqa: PLC0415

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        is_open = {(prefix.rpartition(".")[0], key) for prefix, key, _ in connection.execute(_ROWS.format("batches"))}
        found = connection.execute(_ROWS.format("money")).fetchall()
    lines: list[AccountLine] = []
    for prefix, key, value in found:
        account = Account.from_row(orjson.loads(value))
        if (prefix.rpartition(".")[0], key) not in is_open and (account.lane or key.startswith("hit-")):
            lines += account.each()
    return lines


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
