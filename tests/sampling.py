"""Which part of a big table runs by default: one that holds each value once, drawn by a seed so that it can be run again."""

import itertools
from collections.abc import Hashable, Iterator, Sequence
from random import Random

import pytest

is_whole = False
"""Everything is to run. Set before the first test module is imported, as is the seed."""
is_brief = False
"""There are a quarter as many examples as in a sample: what is asked is whether this Python differs, and not what was asked."""
seed = 0
"""Draws the samples."""


def draw(
    cells: Sequence[Sequence[tuple[str, object]]], seed: str, *, least: int = 0, most: int | None = None
) -> set[int]:
    """Return the places of a sample of cells: each value of each parameter is in it, and it has so many cells at least.

    Args:
        cells: The parameters of each cell, by name.
        seed: The same draws the same.
        least: How many cells there are to be; those that there are, if it is more.
        most: How many there may be, though a value be left out.
    """
    order = list(range(len(cells)))
    Random(seed).shuffle(order)
    drawn: set[int] = set()
    seen: set[tuple[str, Hashable]] = set()
    for new in (2, 1):  # those that bring two new values first, so that few are enough
        for place in order:
            values = {(name, _key(value)) for name, value in cells[place]}
            if place not in drawn and len(values - seen) >= min(new, len(values)):
                drawn.add(place)
                seen |= values
    rest = [place for place in order if place not in drawn]
    drawn |= set(rest[: max(0, least - len(drawn))])
    return set([place for place in order if place in drawn][:most])


def many(whole: int, sample: int) -> int:
    """Return how many there are to be of something, such as hypothesis' examples.

    Args:
        whole: So many with `--all`.
        sample: So many without; a quarter of them with `--brief`.
    """
    return whole if is_whole else max(1, sample // 4) if is_brief else sample


def calls(name: str) -> Iterator[int]:
    """Return the numbers of the calls at which something is to happen, without an end.

    Args:
        name: Draws the first of them: all from 1 on with `--all`, else every third, so that several tables meet all.
    """
    step = 1 if is_whole else 9 if is_brief else 3
    return itertools.count(Random(f"{seed} {name}").randint(1, step), step)


def is_named(config: pytest.Config) -> bool:
    """Return whether tests are asked for by their names: then none of them is left out."""
    return bool(config.option.keyword) or any("::" in each for each in config.args)


def _key(value: object) -> Hashable:
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value
