"""What a purse remembers of threads: those that go on, and some of those that have ended."""

from fakes import T0

from batch_bridge._money import Account, Budget, Purse
from batch_bridge._money.account import Who


def asked(budget: Budget, *threads: str) -> Purse:
    """Return a purse after a batch with a request of each thread."""
    held = Purse(budget, most_ended=2)
    held.reserve("bridge", "batch", Account(T0, None, tuple(map(Who, threads))))
    return held


def counts(held: Purse, *threads: str) -> list[int]:
    return [held.own(each).requests for each in threads]


def test_threads_that_have_ended_are_forgotten_once_many_have() -> None:
    held = asked(Budget(), *"abcd")
    for thread in "abc":
        held.end(thread)
    assert counts(held, *"abcd") == [0, 1, 1, 1]


def test_a_thread_that_goes_on_is_not_forgotten() -> None:
    held = asked(Budget(requests_per_thread=1), *"abcd")
    held.end("a")
    assert held.judge_count("a", 0) is not None
    for thread in "bcd":
        held.end(thread)
    assert counts(held, *"abcd") == [1, 0, 1, 1]


def test_none_is_forgotten_that_has_dollars_of_its_own() -> None:
    held = asked(Budget(usd_per_thread=1), *"abcd")
    for thread in "abcd":
        held.end(thread)
    assert counts(held, *"abcd") == [1, 1, 1, 1]
