from batch_bridge.testing import Settings
from batch_bridge.testing._server.seeded_random import SeededRandom, draw


def draws(**options):
    settings = Settings().changed(options)
    made = SeededRandom(lambda: settings)
    made.load(set(options))
    return made


def test_a_draw_depends_on_seed_and_key_alone():
    assert draw(1, "a", 2) == draw(1, "a", 2)
    assert len({draw(1, "a", 2), draw(2, "a", 2), draw(1, "b", 2), draw(1, "a", 3)}) == 4


def test_a_share_hits_about_its_share():
    made = draws(line_failure=0.1)
    assert 800 < sum(made.hits("line_failure", 1, index) for index in range(10_000)) < 1_200
    assert not any(draws().hits("line_failure", 1, index) for index in range(1_000))
    assert all(draws(line_failure=1).hits("line_failure", 1, index) for index in range(1_000))


def test_a_counter_hits_the_next_ones_and_is_counted():
    made = draws(next_poll_error=2)
    assert [made.strikes("poll_error") for _ in range(4)] == [True, True, False, False]
    assert made.fired["poll_error"] == 2
    made.load({"next_poll_error"})
    assert made.strikes("poll_error")


def test_statuses_are_drawn_from_all_that_are_named():
    made = draws(line_failure_status=[400, 429, 500])
    assert {made.pick_status(index) for index in range(100)} == {400, 429, 500}
