"""Which steps of a job it is to die at."""

from random import Random

import sampling


def drawn(steps: list[str], each: int) -> list[str]:
    """Return the steps to die at, in their order: all, or some of each kind, such as `before submit 2`."""
    kinds: dict[str, list[str]] = {}
    for step in steps:
        kinds.setdefault(step.rpartition(" ")[0], []).append(step)
    draws = Random(sampling.seed)
    some = {step for first, *more in kinds.values() for step in (first, *draws.sample(more, min(len(more), each - 1)))}
    return [step for step in steps if sampling.is_whole or step in some]
