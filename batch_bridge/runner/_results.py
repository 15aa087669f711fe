"""What becomes of the threads of a call: results, and errors in their places."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Failed:
    """A thread's result that is an exception."""

    error: Exception


def in_order(results: Mapping[int, Any], *, return_exceptions: bool) -> list[Any]:
    """Return the results of a call by index.

    Raises:
        Exception: The error of the first thread that has failed, unless `return_exceptions` returns it in its place.
    """
    ordered = [results[index] for index in sorted(results)]
    failed = [result for result in ordered if isinstance(result, Failed)]
    if failed and not return_exceptions:
        error = failed[0].error
        if len(failed) > 1:
            error.add_note(f"{len(failed)} threads failed, this is the first; return_exceptions=True returns them all")
        raise error
    return [result.error if isinstance(result, Failed) else result for result in ordered]
