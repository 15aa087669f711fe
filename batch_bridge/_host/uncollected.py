"""Warns when a process leaves batches behind that no later one will collect."""

from collections.abc import Mapping
from typing import Final

from batch_bridge._core.models import JSON
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import logger_of

logger = logger_of(__name__)

_SHOWN: Final = 10
"""Batches that are named."""


def warn_of_uncollected(batches: Mapping[str, JSON], cure: str) -> None:
    """Log one warning that names batches which are in flight and that no later process collects; none is no warning.

    Args:
        batches: The provider's handles, by our keys.
        cure: What to give so that the next run collects them.
    """
    if not batches:
        return
    named = ", ".join(f"{key} ({_logged.handle(handle)!r})" for key, handle in list(batches.items())[:_SHOWN])
    more = f", and {len(batches) - _SHOWN} more" if len(batches) > _SHOWN else ""
    one = len(batches) == 1
    logger.warning(
        "%s in flight and will be billed, and no later run collects %s: %s%s. %s. Cancel %s at the provider if "
        "you do not need %s "
        "answers",
        "1 batch is" if one else f"{len(batches)} batches are",
        "it" if one else "them",
        named,
        more,
        cure,
        "it" if one else "them",
        "its" if one else "their",
    )
