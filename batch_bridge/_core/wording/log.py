"""The loggers: one a module, below `batch_bridge`. Their records name the bridge, batch and run that they are about.

Each record has `record.bridge`, `record.batch` and `record.run`, which are empty where the record is about none, so
that a format such as `%(bridge)s` never fails.
"""

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

_NOTHING: Final[Mapping[str, object]] = {"bridge": "", "batch": "", "run": ""}


class Logger(logging.LoggerAdapter[logging.Logger]):
    """A module's logger."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """See `logging.LoggerAdapter`."""
        return msg, {**kwargs, "extra": {**_NOTHING, **(kwargs.get("extra") or {})}}


def logger_of(module: str) -> Logger:
    """Return the logger of a module, by its `__name__`."""
    return Logger(logging.getLogger(module), {})


def about(*, bridge: str = "", batch: str | None = "", run: str = "") -> dict[str, object]:
    """Return what a record is about, for `extra=`."""
    return {"bridge": bridge, "batch": batch or "", "run": run}
