"""Names that a provider has given to batches and files, checked before they become part of an address. Pure."""

from typing import Final, TypeGuard

from batch_bridge.errors import ResponseRejected

_MEANING: Final = frozenset("/\\?#%")
"""Characters that mean something in an address: `../`, `?` and `%2e` would have another thing read, or deleted."""
_LONGEST: Final = 256
_SINGULAR: Final = {"files": "file", "batches": "batch"}


def is_id(value: object) -> TypeGuard[str]:
    """Return whether a name can stand in an address as one part of it."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= _LONGEST
        and value not in (".", "..")
        and value.isprintable()
        and _MEANING.isdisjoint(value)
    )


def checked(value: str, what: str) -> str:
    """Return a name.

    Args:
        value: The name as the provider gave it.
        what: What it names, for the error, such as `"file"`.

    Raises:
        ResponseRejected: It would lead to another address.
    """
    if not is_id(value):
        raise _rejected(value, what)
    return value


def checked_resource(value: str, kind: str) -> str:
    """Return a name of Gemini's, such as `files/abc`, whose first part is the kind.

    Raises:
        ResponseRejected: It is of another kind, or would lead to another address.
    """
    if not is_resource(value, kind):
        raise _rejected(value, kind)
    return value


def is_resource(value: object, kind: str) -> TypeGuard[str]:
    """Return whether a name is one of Gemini's, of this kind."""
    if not isinstance(value, str):
        return False
    first, _, rest = value.partition("/")
    return first == kind and is_id(rest)


def _rejected(value: str, what: str) -> ResponseRejected:
    return ResponseRejected(
        f"the provider gave {value[:80]!r} as the id of a {_SINGULAR.get(what, what)}, which would lead to "
        "another address; it was not used. Check the client's base_url"
    )
