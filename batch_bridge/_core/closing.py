"""Closing several things: one that fails keeps none of the others open, and no error is lost."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import TypeAlias

Close: TypeAlias = Callable[[], Awaitable[object]]


class Closing:
    """Closes things at the end of a block, each whatever becomes of the others, in their order.

    What the block has raised passes, with a note of each that could not be closed; else the first of their errors does,
    with a note of each other. A cancellation that comes meanwhile passes before an error, which is noted on it.

    Args:
        closers: Called once each.
    """

    def __init__(self, closers: Iterable[Close]) -> None:
        self._closers = closers

    async def __aenter__(self) -> None:
        """Begin the block."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all."""
        errors: list[BaseException] = []
        for close in self._closers:
            try:
                await close()
            except BaseException as failed:  # noqa: BLE001  # the others come first, and then it is raised
                errors.append(failed)
        if (stop := _cancellation(errors)) is not None and (error is None or isinstance(error, Exception)):
            note_others(stop, [*([] if error is None else [error]), *errors])
            raise stop
        if error is None:
            raise_first(errors)
        else:
            note_others(error, errors)


async def close_all(closers: Iterable[Close]) -> None:
    """Close things, as `Closing` does without a block."""
    async with Closing(closers):
        pass


def _cancellation(errors: Iterable[BaseException]) -> asyncio.CancelledError | None:
    """Return the cancellation of this task that came while things were closed; another's is an error like any."""
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return None
    return next((each for each in errors if isinstance(each, asyncio.CancelledError)), None)


def raise_first(errors: Iterable[BaseException]) -> None:
    """Raise the first of some errors, if there is one, with a note of each other."""
    held = list(errors)
    if held:
        note_others(held[0], held[1:])
        raise held[0]


def note_others(error: BaseException, others: Iterable[BaseException]) -> None:
    """Add a note of each other error that came with the end of what an error has ended."""
    for other in others:
        if other is not error:
            told = f"{type(other).__name__}: {other}" if str(other) else type(other).__name__
            error.add_note(f"closing failed, too: {told}")
