"""A sample of a table holds each of its values, and is drawn again by its seed."""

import itertools

import sampling

FAULTS, HOSTS = [{"fault": number} for number in range(12)], ("runner", "batcher")
CELLS = [(("fault", fault), ("host", host)) for fault, host in itertools.product(FAULTS, HOSTS)]


def test_a_sample_holds_each_value_and_little_else():
    for seed in map(str, range(20)):
        drawn = [CELLS[place] for place in sampling.draw(CELLS, seed)]
        assert len(drawn) == len(FAULTS)
        assert {id(fault) for (_, fault), _ in drawn} == set(map(id, FAULTS))
        assert {host for _, (_, host) in drawn} == set(HOSTS)


def test_a_seed_draws_the_same_and_another_one_another():
    assert sampling.draw(CELLS, "7") == sampling.draw(CELLS, "7")
    assert len({frozenset(sampling.draw(CELLS, str(seed))) for seed in range(20)}) > 10


def test_how_many_there_are_at_least_and_at_most():
    assert len(sampling.draw(CELLS, "1", least=20)) == 20
    assert len(sampling.draw(CELLS, "1", least=99)) == len(CELLS)
    assert len(sampling.draw(CELLS, "1", most=3)) == 3


def test_calls_are_every_third_from_one_that_is_drawn(monkeypatch):
    monkeypatch.setattr(sampling, "is_whole", False)
    monkeypatch.setattr(sampling, "is_brief", False)
    firsts = set()
    for number in range(20):
        first, second, third = itertools.islice(sampling.calls(f"table {number}"), 3)
        assert (second - first, third - second) == (3, 3)
        firsts.add(first)
    assert firsts == {1, 2, 3}
    monkeypatch.setattr(sampling, "is_whole", True)
    assert list(itertools.islice(sampling.calls("any"), 3)) == [1, 2, 3]
