"""What the tables of faults share: who is hit, whether a fault has struck, ends in words, and the page that shows them."""

import gc
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from batch_bridge.errors import RequestError
from batch_bridge.testing._server.seeded_random import draw
from batch_bridge.testing._server.stats import Stats
from batch_bridge.testing._server.switches.faults import Faults

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
HALF = 0.5
"""The share of a fault of batches that is to hit the first batch of a cell, and no other."""
CALM = {f.name: f.default for f in fields(Faults)} | {"seed": 0, "enqueued_tokens": None}
"""Options of a server on which nothing goes wrong."""
ANSWERED = "answered"
"""What a request has ended with that has its own answer."""

_SHARES = {f.name for f in fields(Faults) if f.default == 0.0 and not f.name.startswith("next_")} - {"visible_after"}
_OF_BATCHES = {"batch_failure", "expiry", "stuck", "unknown_status", "forgotten"}


def seed_for(switches: Mapping[str, Any], ordinal: int) -> int:
    """Return a seed whose draws hit the next batch, and none of those after it, with each share that is `HALF`."""
    halved = [each for each, share in switches.items() if each in _OF_BATCHES and share == HALF]

    def suits(seed: int) -> bool:
        hits = ([draw(seed, each, ordinal + after) < HALF for after in range(5)] for each in halved)
        return all(hit == [True, False, False, False, False] for hit in hits)

    return next(filter(suits, itertools.count()))


def has_struck(switches: Mapping[str, Any], stats: Stats) -> None:
    """Make sure that the faults have happened."""
    for name, value in switches.items():
        fault = name.removeprefix("next_")
        if fault in _SHARES and not fault.endswith("_share"):
            count = stats.faults.get(fault, 0)
            assert count == value if name != fault else count > 0, f"{fault} has struck {count} times"


def said(error: RequestError) -> str:
    """Name the end of a request that has no answer."""
    assert str(error)
    status = "" if error.status_code is None else f" {error.status_code}"
    return f"{type(error).__name__} ({error.code}{status}{', retryable' if error.retryable else ''})"


def in_words(kinds: Counter[str], hit: int | None = None) -> str:
    """Tell what requests have ended with.

    Args:
        kinds: How many have ended with what.
        hit: How many have no answer, where chance has decided that: then they are not counted in words.
    """
    others = sorted(each for each in kinds if each != ANSWERED)
    if hit and kinds[ANSWERED] == kinds.total() - hit:
        return f"answered; those hit: {', '.join(others)}"
    return ", ".join(f"{kinds[each]:,} {each}" for each in (ANSWERED, *others) if kinds[each])


def in_code(switches: Mapping[str, Any]) -> str:
    """Write switches as one sets them."""
    return f"`{', '.join(f'{name}={value}' for name, value in switches.items())}`"


def check_page(mark: str, rows: list[str], test: str, *, is_whole: bool, at: int | None = None) -> None:
    """Compare a table of the page with what was measured; with `UPDATE_DOCS` in the environment, write it.

    Args:
        mark: Names the table on the page.
        rows: As measured, with the head.
        test: The file that measures it.
        is_whole: All cells were measured. Else each row must stand on the page, and others may.
        at: The column in which a row names the places it is true of; in part, it may name fewer than the page.
    """
    table = "\n".join(rows)
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(f"<!-- {mark}: begin -->\n")
    shown, end, after = rest.partition(f"\n<!-- {mark}: end -->")
    assert begin, f"{PAGE.name} has no table {mark!r}"
    assert end, f"{PAGE.name} has no table {mark!r}"
    advice = f"rewrite it with: UPDATE_DOCS=1 pytest --all tests/acceptance/{Path(test).name}"
    if not is_whole:
        known = [_cells(line, at) for line in shown.splitlines()]
        missing = [row for row in rows if not any(_is_part(_cells(row, at), each) for each in known)]
        assert missing == [], f"{PAGE.name} does not show these rows; {advice}"
    elif os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(before + begin + table + end + after, encoding="utf-8")
    else:
        assert shown == table, f"{PAGE.name} shows another table; {advice}"


def _cells(row: str, at: int | None) -> tuple[list[str], set[str]]:
    cells = row.removeprefix("| ").removesuffix(" |").split(" | ")
    return cells, set(cells.pop(at).split(", ")) if at is not None and at < len(cells) else set()


def _is_part(row: tuple[list[str], set[str]], of: tuple[list[str], set[str]]) -> bool:
    return row[0] == of[0] and row[1] <= of[1]


@contextmanager
def no_garbage() -> Iterator[None]:
    """Do not look for garbage, which takes a third of the time; who uses it collects between its cells."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
