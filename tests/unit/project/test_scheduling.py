"""Workers take files in two lanes: those that wait for servers run beside those that compute."""

from types import SimpleNamespace

import pytest

scheduling = pytest.importorskip("scheduling", reason="it needs pytest-xdist")

WAIT = [f"tests/server/test_{name}.py" for name in "abcd"]
COMPUTE = [f"tests/unit/core/test_{name}.py" for name in "abcdef"]


class Worker:
    """Takes down the files that it is given."""

    shutting_down = False

    def __init__(self, name, nodeids):
        self.gateway = SimpleNamespace(id=name)
        self.nodeids, self.files = nodeids, []

    def send_runtest_some(self, indexes):
        self.files += dict.fromkeys(self.nodeids[each].split("::")[0] for each in indexes)

    def shutdown(self):
        self.shutting_down = True


def run(count, files):
    """Return which files each of so many workers is given, when all are equally quick."""
    nodeids = [f"{file}::test_{number}" for file in files for number in range(4)]
    option = SimpleNamespace(loadscopereorder=False)
    config = SimpleNamespace(option=option, getvalue=lambda name: ["popen"] * count)
    scheduler = scheduling.TwoLanes(config)
    workers = [Worker(f"gw{number}", nodeids) for number in range(count)]
    for each in workers:
        scheduler.add_node(each)
        scheduler.add_node_collection(each, nodeids)
    scheduler.schedule()
    done = dict.fromkeys(workers, 0)
    while any(done[each] < 4 * len(each.files) for each in workers):
        for each in workers:
            if done[each] < 4 * len(each.files):
                file, number = each.files[done[each] // 4], done[each] % 4
                done[each] += 1
                scheduler.mark_test_complete(each, nodeids.index(f"{file}::test_{number}"))
    return [each.files for each in workers]


def test_the_lanes_are_worked_off_side_by_side_and_each_worker_goes_on_in_the_other():
    first, second = run(2, [*WAIT, *COMPUTE])
    assert second[:4] == WAIT
    assert first[:4] == COMPUTE[:4]
    assert sorted([*first, *second]) == sorted([*WAIT, *COMPUTE])


def test_where_all_is_of_one_lane_each_worker_works():
    given = run(3, COMPUTE)
    assert all(given)
    assert sorted(file for files in given for file in files) == COMPUTE
