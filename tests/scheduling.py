"""Which worker is given which file: those that wait for servers run beside those that compute, so that no core is idle."""

WAITING = ("tests/acceptance/", "tests/server/")
"""Files that wait most of their time: for a server, a process or a poll."""


def waits(file: str) -> bool:
    """Return whether a file waits, rather than computes."""
    return file.startswith(WAITING)


class Lanes:
    """Gives files to workers in their order, in two lanes.

    The second half of the workers, and one more where their number is odd, is given files that wait, while there are some; the
    others files that compute.

    Attributes:
        workers: How many there are.
    """

    def __init__(self, files: list[str], workers: int) -> None:
        self.workers = workers
        self._left = list(files)

    def take(self, worker: int) -> str | None:
        """Return the next file of a worker, by its number from 0; nothing once all are given."""
        lane = worker >= self.workers // 2
        file = next((each for each in self._left if waits(each) == lane), self._left[0] if self._left else None)
        if file is not None:
            self._left.remove(file)
        return file
