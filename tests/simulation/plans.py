"""Plans: drawn by a seed, and shrunk while they still fail."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from simulation.world import Fault, Kind, Plan

Places = Mapping[str, tuple[int, tuple[Kind, ...]]]
"""By place: up to which call a fault may come, and which faults."""

LASTING: frozenset[Kind] = frozenset({"outage", "slow", "late", "twice", "pause", "pause after"})
"""Faults that take some seconds."""
CREATION: frozenset[Kind] = frozenset({"late", "twice"})
"""Faults of the call that creates a batch."""
DEATHS: tuple[Kind, ...] = ("die", "die after")
COMMON: tuple[Kind, ...] = ("fail", "fail", "lose", "lose", "outage", "slow", "die", "die after")


def draw(host: str, seed: int, places: Places) -> Plan:
    """Return what a seed stands for: most histories have a few faults, some have none or many."""
    draws = random.Random(f"{host} {seed} plan")
    drawn = {name: most for name, (most, _) in places.items() if name != "cancel"}
    names = [name for name, most in drawn.items() for _ in range(1 if most < 40 else 2)]
    faults = {}
    for _ in range(draws.choice((0, 1, 1, 2, 2, 3, 4, 6, 9))):
        place = draws.choice(names)
        most, kinds = places[place]
        kind = draws.choice(kinds)
        seconds = draws.choice((0.5, 5.0, 5.0, 40.0, 40.0, 400.0)) if kind in LASTING else 0.0
        number = draws.randint(1, draws.choice((max(most // 4, 1), most)))
        if kind in CREATION:
            place, number = "submit", 1 + number % 3
        faults[place, number] = Fault(place, number, kind, seconds)
    if "step" in places and draws.random() < 0.3:
        number, kind = draws.randint(1, 8), draws.choice(DEATHS)
        faults["then", number] = Fault("then", number, kind)
    if "cancel" in places and draws.random() < 0.15:
        most, kinds = places["cancel"]
        number, kind = draws.randint(1, most), draws.choice(kinds)
        faults["cancel", number] = Fault("cancel", number, kind)
    return Plan(host, seed, tuple(faults.values()))


def shrink(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """Return a plan that fails too, and would not if any one of its faults were left out, or were shorter."""
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for place, fault in enumerate(plan.faults):
            without = replace(plan, faults=plan.faults[:place] + plan.faults[place + 1 :])
            if fails(without):
                plan, is_smaller = without, True
                break
            if fault.seconds > 1.0:
                short = replace(fault, seconds=0.5)
                shorter = replace(plan, faults=(*plan.faults[:place], short, *plan.faults[place + 1 :]))
                if fails(shorter):
                    plan, is_smaller = shorter, True
                    break
    return plan
