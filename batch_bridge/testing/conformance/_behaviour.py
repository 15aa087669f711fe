"""One behaviour that the engine relies on, and how a provider is found to lack it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from batch_bridge.errors import BatchBridgeError
from batch_bridge.testing.conformance._bench import Bench
from batch_bridge.testing.conformance._drive import BREATH, PATIENCE
from batch_bridge.testing.conformance._natures import kind_of
from batch_bridge.testing.conformance._subject import Subject

Run: TypeAlias = Callable[[Bench], Awaitable[None]]


class Nonconforming(BatchBridgeError, AssertionError):
    """A provider does not behave as the engine relies on."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One row of the table.

    Attributes:
        name: What is expected, in words joined by underscores.
        needs: `"server"`, faults of the server, or faculties of the provider, as in `Subject.lacks`.
        run: Does it, and raises `Nonconforming`.
        presumes: What else a subject may lack, for which no server is needed.
        lanes: The kinds of lanes that it is about, such as `"window"`; empty: all.
    """

    name: str
    needs: tuple[str, ...]
    run: Run
    presumes: tuple[str, ...] = ()
    lanes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    def excuse(self, subject: Subject) -> str | None:
        """Return why a subject need not behave so, or `None` if it must."""
        if self.needs and subject.server is None:
            return "the subject has no server that can be told to fail"
        if self.lanes and kind_of(subject.lane) not in self.lanes:
            return f"it is about {' and '.join(self.lanes)}, and the subject's lane is {subject.lane}"
        wanted = (*self.needs, *self.presumes)
        return next((f"{each}: {subject.lacks[each]}" for each in wanted if each in subject.lacks), None)

    async def check(self, subject: Subject) -> None:
        """Put a subject through it. Must be called in an event loop; leaves the server as it was.

        Raises:
            Nonconforming: It behaves otherwise; says how.
        """
        if subject.server is not None:
            subject.server.reset_stats()
        try:
            async with Bench(subject) as bench:
                await self.run(bench)
        except Nonconforming:
            raise
        except Exception as error:
            raise Nonconforming(f"{self}: {type(error).__name__}: {error}") from error


async def until(holds: Callable[[], bool], said: str) -> None:
    """Wait until something holds, and raise what is wrong if it does not come to."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        expect(time.monotonic() < deadline, said)
        await asyncio.sleep(BREATH)


def expect(holds: bool, said: str) -> None:  # noqa: FBT001  # it reads as an assertion does
    """Raise what is wrong unless it holds."""
    if not holds:
        raise Nonconforming(said)
