"""Which worker is given which file: those that wait for servers run beside those that compute, so that no core is idle."""

from typing import Any

from xdist.scheduler import LoadFileScheduling

WAITING = ("tests/acceptance/", "tests/server/")
"""Files that wait most of their time: for a server, a process or a poll."""


def waits(file: str) -> bool:
    """Return whether a file waits, rather than computes."""
    return file.startswith(WAITING)


class TwoLanes(LoadFileScheduling):
    """Gives files to workers in the order of the collection, in two lanes.

    The second half of the workers, and one more where their number is odd, is given files that wait, while there are some; the
    others files that compute.
    """

    def _assign_work_unit(self, node: Any) -> None:
        place = int(node.gateway.id.removeprefix("gw"))
        lane = place >= self.numnodes // 2
        for file in self.workqueue:
            if waits(file) == lane:
                self.workqueue.move_to_end(file, last=False)
                break
        super()._assign_work_unit(node)
