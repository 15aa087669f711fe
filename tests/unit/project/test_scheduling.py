"""Workers take files in two lanes: those that wait for servers run beside those that compute."""

from scheduling import Lanes

WAIT = [f"tests/server/test_{name}.py" for name in "abcd"]
COMPUTE = [f"tests/unit/core/test_{name}.py" for name in "abcdef"]


def run(count, files):
    """Return which files each of so many workers is given, when all are equally quick."""
    lanes, given = Lanes(files, count), [[] for _ in range(count)]
    for turn in range(len(files)):
        given[turn % count].append(lanes.take(turn % count))
    return given


def test_the_lanes_are_worked_off_side_by_side_and_each_worker_goes_on_in_the_other():
    first, second = run(2, [*WAIT, *COMPUTE])
    assert second[:4] == WAIT
    assert first[:4] == COMPUTE[:4]
    assert sorted([*first, *second]) == sorted([*WAIT, *COMPUTE])


def test_where_all_is_of_one_lane_each_worker_works():
    given = run(3, COMPUTE)
    assert all(given)
    assert sorted(file for files in given for file in files) == COMPUTE


def test_nothing_is_left_once_all_is_given():
    lanes = Lanes(COMPUTE[:1], 1)
    assert lanes.take(0) == COMPUTE[0]
    assert lanes.take(0) is None
