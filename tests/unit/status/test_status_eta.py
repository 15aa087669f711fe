"""When it will be done: over simulated histories the true end is before p50 and p90 as often as they claim, or more."""

import random

import pytest

from batch_bridge._status.eta import eta_of
from batch_bridge._status.models import Batch, Facts, Owner, Threads, Wave
from batch_bridge._status.text import eta_line

NOW = 1_000_000.0


def batch(took, ended_at, *, group="g", key="b"):
    return Batch(key, "bridge", "ended", "h", group, 100, submitted_at=ended_at - took, ended_at=ended_at)


def flying(age, *, group="g"):
    return Batch("open", "bridge", "in_flight", "h", group, 100, submitted_at=NOW - age)


def facts(history, open_batches, *, threads=None, waves=(), rounds=None, kind="runner", queued=0):
    seen = threads or Threads(100, 0, 0, 100, 0)
    owner = Owner(alive=True)
    return Facts(kind, owner, seen, tuple(waves), rounds, queued, tuple(open_batches), tuple(history), NOW, True)


def simulated(seed):
    """A history, two batches that are under way, how long these take, and the batches of two more waves."""
    draw = random.Random(seed)
    shape = ("lognormal", "stall", "burst")[seed % 3]
    middle, spread = draw.uniform(300, 7200), draw.uniform(0.1, 0.8)
    took = [middle * draw.lognormvariate(0, spread) for _ in range(draw.randint(5, 40) + 6)]
    if shape == "stall":  # for a while all of them are slow
        begins = draw.randrange(len(took))
        took = [each * (4 if begins <= place < begins + 4 else 1) for place, each in enumerate(took)]
    if shape == "burst":  # one after the other is slower, and then quick again
        took = [each * (1 + 2 * ((place % 12) / 12)) for place, each in enumerate(took)]
    history = [batch(each, NOW - 10 * (len(took) - place)) for place, each in enumerate(took[:-6])]
    age = draw.uniform(0, min(took[-6:-4]) * 0.9)
    wave = max(took[-6:-4]) - age
    return shape, history, [flying(age), flying(age)], wave, wave + max(took[-4:-2]) + max(took[-2:])


def coverage(count=50, first=0):
    """How often the true end was before p50 and p90, of the wave and of the run: (shape -> five counts)."""
    table = {}
    for seed in range(first, first + count):
        shape, history, open_batches, wave, run = simulated(seed)
        eta = eta_of(
            facts(history, open_batches, threads=Threads(200, 100, 0, 100, 0), waves=[Wave(1, 100, 100)], rounds=3)
        )
        row = table.setdefault(shape, [0] * 5)
        for place, (true, claim) in enumerate(
            ((wave, eta.wave.p50), (wave, eta.wave.p90), (run, eta.run.p50), (run, eta.run.p90)), 1
        ):
            row[place] += true <= claim - NOW
        row[0] += 1
    return table


def test_over_fifty_histories_the_true_end_is_within_the_claim_as_often_as_claimed():
    table = coverage()
    total, wave50, wave90, run50, run90 = (sum(column) for column in zip(*table.values(), strict=True))
    assert total == 50
    assert wave50 >= 25
    assert run50 >= 25
    assert wave90 >= 45
    assert run90 >= 45


def test_no_history_is_an_answer():
    assert eta_of(facts([], [flying(10)])) is None
    assert eta_of(facts([batch(60, NOW - 10, group="other")], [flying(10)])) is None, "another model is another queue"
    assert eta_line(None, NOW) == "not known when; there is no history of ended batches yet"


def test_the_run_is_not_known_until_a_thread_has_ended():
    eta = eta_of(facts([batch(60, NOW - 10)], [flying(10)], waves=[Wave(1, 100, 100)]))
    assert (eta.run, eta.waves_left, eta.batches) == (None, None, 1)
    assert "how many waves there are to be is not known yet" in eta_line(eta, NOW)


@pytest.mark.parametrize("age", [0, 30, 3600, 360_000])
def test_a_batch_that_is_under_way_ends_in_the_future_however_old_it_is(age):
    eta = eta_of(facts([batch(60, NOW - each) for each in range(10)], [flying(age)]))
    assert eta.wave.p90 > NOW
    assert NOW <= eta.wave.p50 <= eta.wave.p90


def test_newer_batches_count_more_and_the_same_facts_give_the_same_answer():
    slow_now = [batch(100 if each < 40 else 1000, NOW - 1000 + each) for each in range(60)]
    quick_now = [batch(1000 if each < 40 else 100, NOW - 1000 + each) for each in range(60)]
    slow, quick = (eta_of(facts(history, [flying(0)])).wave.p50 for history in (slow_now, quick_now))
    assert quick < slow
    assert eta_of(facts(slow_now, [flying(0)])) == eta_of(facts(slow_now, [flying(0)]))
