"""What the log may hold: what has happened and where, and no word of a prompt or an answer. Pure, but for one variable.

An error's text may quote its item or answer, whichever library wrote it: a `KeyError` of the user's
function, a validation error, a gateway that repeats what it was sent. So the log has an error's kind and its place, and
its text only where it is known to hold no content. Who is asked to log all the same, logs the text.
"""

import os
import re
from types import TracebackType
from typing import Any, Final, TypeVar

from batch_bridge.errors import (
    BatchBridgeError,
    CacheError,
    LedgerError,
    MissingPackageError,
    ProviderError,
    RunFileError,
    Stalled,
    StoreInUseError,
)

VARIABLE: Final = "BATCH_BRIDGE_LOG_CONTENT"
"""With `1`, the log has the texts of errors and handles as they are, which may quote prompts and answers."""
_OWN: Final = (CacheError, LedgerError, MissingPackageError, ProviderError, RunFileError, Stalled, StoreInUseError)
"""Errors whose text describes a service or a file, and is written for the log."""
_TRANSPORT: Final = frozenset(
    {
        "APITimeoutError",
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "ProxyError",
        "ReadTimeout",
        "UnsupportedProtocol",
        "InvalidURL",
        "WriteTimeout",
    }
)
"""Errors of the HTTP libraries, by name as there are several, that speak of a host and not of what was sent."""
_DATABASE: Final = frozenset({"OperationalError", "InterfaceError"})
"""Errors of databases, by the names that PEP 249 gives to them; their first line has no details, which quote rows."""
_LONGEST: Final = 500
_NAME: Final = re.compile(r"[\w.:/@=+#-]{1,200}")
"""What a provider's name for a batch looks like; a text of several words is not one."""
_MOST_FIELDS: Final = 8

E = TypeVar("E", bound=BatchBridgeError)


def is_asked() -> bool:
    """Return whether the log is to hold content."""
    return os.environ.get(VARIABLE, "").strip().lower() in ("1", "true", "yes", "on")


def logged_as(error: E, text: str) -> E:
    """Set the text that the log shows of an error of ours, whose own text quotes a user; return the error."""
    error._logged_as = text  # noqa: SLF001  # no business of a user's
    return error


def said(error: BaseException) -> str:
    """Return the log's text of an error, on one line: its kind, and its text or its place."""
    kind = type(error).__name__
    text = _text(error)
    if isinstance(error, ProviderError) and text:
        return text
    return f"{kind}: {text}" if text else f"{kind}{_place(error)}"


def trace(error: BaseException) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """Return an error for `exc_info=`: its kind, its traceback and its causes, each with the text of `said`."""
    if is_asked():
        return type(error), error, error.__traceback__
    return type(error), _stand_in(error, set()), error.__traceback__


def handle(given: object) -> object:
    """Return what the log shows of a provider's handle: names and numbers. One of a user's function may hold items."""
    if is_asked():
        return given
    if isinstance(given, dict):
        shown = {key: _field(each) for key, each in list(given.items())[:_MOST_FIELDS] if _NAME.fullmatch(str(key))}
        return shown if len(shown) == len(given) else {**shown, "…": "…"}
    return f"a list of {len(given)}" if isinstance(given, list) else _field(given)


def _field(given: object) -> object:
    if isinstance(given, str):
        return given if _NAME.fullmatch(given) else "…"
    return "…" if isinstance(given, dict | list) else given


def _text(error: BaseException) -> str:
    """Return an error's text if the log may show it, else an empty text."""
    if is_asked():
        return str(error)
    if isinstance(error, BatchBridgeError):
        told: str | None = error._logged_as  # noqa: SLF001  # see `logged_as`
        return _short(told if told is not None else str(error)) if told is not None or isinstance(error, _OWN) else ""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & _DATABASE:
        return _short(str(error).partition("\n")[0])
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return f"[Errno {error.errno}] {os.strerror(error.errno)}" if error.errno > 0 else f"[Errno {error.errno}]"
    if names & _TRANSPORT:
        return _short(str(error))
    status: Any = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    return f"HTTP {status}" if isinstance(status, int) else ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    return f" ({os.path.basename(code.co_filename)}:{trace.tb_lineno}, in {code.co_name})"  # noqa: PTH119  # or no path


def _stand_in(error: BaseException, seen: set[int]) -> BaseException:
    """Return an error that prints as another one does, without its text."""
    seen.add(id(error))
    kind = type(error)
    text = _text(error) or f"(its text may quote content, and is left out; {VARIABLE}=1 logs it)"
    stand_in: BaseException = type(kind.__name__, (Exception,), {"__module__": kind.__module__})(text)
    stand_in.__traceback__ = error.__traceback__
    cause, context = error.__cause__, error.__context__
    if cause is not None and id(cause) not in seen:
        stand_in.__cause__ = _stand_in(cause, seen)
    elif context is not None and id(context) not in seen and not error.__suppress_context__:
        stand_in.__context__ = _stand_in(context, seen)
    stand_in.__suppress_context__ = error.__suppress_context__
    return stand_in
