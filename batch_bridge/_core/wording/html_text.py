"""HTML for notebooks: a table whose every cell is escaped, since names and errors come from elsewhere. Pure."""

from collections.abc import Iterable
from html import escape


def table(title: str, rows: Iterable[tuple[str, object]]) -> str:
    """Return a table of names and values; rows without a value are left out."""
    cells = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(str(value))}</td></tr>'
        for name, value in rows
        if value not in (None, "")
    )
    return f"<table><caption>{escape(title)}</caption>{cells}</table>"


def bar(done: int, total: int | None, text: str) -> str:
    """Return a progress bar with a text behind it; without a total it only shows activity."""
    share = "" if total is None else f' value="{done}" max="{max(total, 1)}"'
    return f"<div><progress{share}></progress> {escape(text)}</div>"


def counted(counts: Iterable[tuple[str, int]]) -> str:
    """Return counts as text: `3 succeeded, 1 errored`."""
    return ", ".join(f"{count:,} {name}" for name, count in counts)
