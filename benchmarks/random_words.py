"""Prompts of random words, the same ones on both sides: a repeated phrase is no prompt, and costs less than one."""

import random

_LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
_WEIGHTS = range(len(_LETTERS), 0, -1)
_CHARACTERS = 2_000_000


def _text() -> str:
    drawn = random.Random(0)
    words = ["".join(drawn.choices(_LETTERS, _WEIGHTS, k=drawn.randint(2, 11))) for _ in range(5000)]
    return " ".join(drawn.choices(words, k=_CHARACTERS // 5))


TEXT = _text()


def prompt(index: int, size: int) -> str:
    """Return prompt number `index`: its number, and words up to `size` characters."""
    start = index * 7919 % (len(TEXT) - size)
    return f"{index:08d} {TEXT[start : start + size - 9]}"


def conversations(count: int, size: int) -> list[list[dict[str, str]]]:
    """Return as many prompts, each as a conversation of one message."""
    return [[{"role": "user", "content": prompt(index, size)}] for index in range(count)]
