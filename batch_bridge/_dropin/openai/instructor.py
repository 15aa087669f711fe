"""The interrupt of a wrapped client, as instructor lets it pass.

instructor catches each `Exception` of the client that it was given, and raises one of its own instead, whatever its
`max_retries`; only its `IncompleteOutputException` passes. So where instructor is loaded, an interrupt is one of these
too.
"""

import functools
import sys
from collections.abc import Hashable
from typing import Any, Final, cast

from batch_bridge._core.models import Outcome
from batch_bridge._dropin.asker import Asker
from batch_bridge._node.pending_waits import ParkedInterrupt

_MODULES: Final = ("instructor.v2.core.errors", "instructor.core.exceptions", "instructor.exceptions")
"""Where its versions keep that exception; the first that is loaded is the one that its retries know."""


class InterruptAwareAsker(Asker):
    """An `Asker` whose interrupts pass through instructor."""

    async def ask(self, item: Any, *, key: str | None = None) -> tuple[str, Outcome]:
        """Do what `Asker.ask` does."""
        try:
            return await super().ask(item, key=key)
        except ParkedInterrupt as interrupt:
            raise _passing(interrupt) from None

    def ask_sync(self, item: Any, *, key: str | None = None) -> tuple[str, Outcome]:
        """Do what `Asker.ask_sync` does."""
        try:
            return super().ask_sync(item, key=key)
        except ParkedInterrupt as interrupt:
            raise _passing(interrupt) from None


def _passing(interrupt: ParkedInterrupt) -> ParkedInterrupt:
    passes = next((found for each in _MODULES if (found := _exception_in(each)) is not None), None)
    if passes is None:
        return interrupt
    kind: Any = _kind(cast("Hashable", passes))
    made: ParkedInterrupt = kind.__new__(kind, *interrupt.args)  # `__init__` is theirs, and wants a completion
    return made


def _exception_in(module: str) -> type[Exception] | None:
    found = getattr(sys.modules.get(module), "IncompleteOutputException", None)
    return found if isinstance(found, type) and issubclass(found, Exception) else None


@functools.cache
def _kind(passes: Any) -> Any:
    return type("ParkedInterrupt", (ParkedInterrupt, passes), {})
