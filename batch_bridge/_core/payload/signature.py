"""Signatures of what travels through threads: only what this deployment has written is obeyed. Pure.

An interrupt and the envelope that answers it lie where a thread's owner can write. So each carries a keyed hash of its
content and of its thread. A value passes through JSON on its way, and through stores that keep numbers in a form of
their own (Postgres's JSONB writes `1e2` as `100`, and keeps no order of keys); the hash is the same before and after.
"""

import hashlib
import hmac
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal

SIGNATURE: Final = "mac"
"""The key of a signature in what it signs."""
Kind = Literal["interrupt", "envelope"]
_FORM: Final = re.compile("1:([0-9a-f]{16}):([0-9a-f]{64})")
_SIGNED: Final[Mapping[Kind, tuple[str, ...]]] = {
    "interrupt": ("batch_bridge", "requests", "run", "by"),
    "envelope": ("batch_bridge", "outcomes", "by"),
}
"""The keys that a signature covers. What LangGraph's loop adds to an interrupt later is not among them."""


class Check(Enum):
    """What a signature proves."""

    VALID = "it was written by this deployment, for this thread"
    ABSENT = "it has no signature"
    UNKNOWN = "its key is not known"
    FORGED = "its signature is wrong"


@dataclass(frozen=True, slots=True)
class Key:
    """A secret, and what it is known by."""

    secret: bytes = field(repr=False)
    id: str = field(init=False)
    state: Any = field(init=False, repr=False, compare=False)
    """The hash that has taken in the secret; each signature begins with a copy."""

    def __post_init__(self) -> None:
        state = hashlib.blake2b(key=self.secret, digest_size=32, person=b"bb-signature")
        object.__setattr__(self, "state", state)
        object.__setattr__(self, "id", hashlib.blake2b(self.secret, digest_size=8, person=b"bb-key-id").hexdigest())


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a deployment.

    Attributes:
        signing: Signs.
        others: Are believed, too: those before it.
        since: Since when there are keys, aware UTC. What a version before that has written has no signature.
    """

    signing: Key
    others: tuple[Key, ...]
    since: datetime

    def sign(self, kind: Kind, thread: str, value: Mapping[str, Any]) -> str:
        """Return the signature of a value that a thread is to carry."""
        return f"1:{self.signing.id}:{_mac(self.signing, kind, thread, value)}"

    def check(self, kind: Kind, thread: str, value: Mapping[str, Any]) -> Check:
        """Return what the signature of a value proves. Never raises, whatever the value holds."""
        given = value.get(SIGNATURE)
        if given is None:
            return Check.ABSENT
        found = _FORM.fullmatch(given) if isinstance(given, str) else None
        if found is None:
            return Check.FORGED
        key = next((each for each in (self.signing, *self.others) if each.id == found[1]), None)
        if key is None:
            return Check.UNKNOWN
        is_right = hmac.compare_digest(_mac(key, kind, thread, value), found[2])
        return Check.VALID if is_right else Check.FORGED


def key_of(text: str) -> Key:
    """Return the key that a text stands for."""
    return Key(hashlib.blake2b(text.encode(errors="surrogatepass"), person=b"bb-key").digest())


def _mac(key: Key, kind: Kind, thread: str, value: Mapping[str, Any]) -> str:
    content = [kind, thread, {name: value[name] for name in _SIGNED[kind] if name in value}]
    state = key.state.copy()
    state.update(_form_of(content))
    return str(state.hexdigest())


def _form_of(content: Any) -> bytes:
    """Return a JSON value in a form that its way through JSON does not change; any depth of it."""
    parts: list[bytes] = []
    add = parts.append
    left: list[Any] = [content]
    while left:
        value = left.pop()
        kind: type | None = type(value)
        if kind not in _EXACT:
            kind = _kind_of(value)
        if kind is str:
            text = value.encode(errors="replace")  # as servers write a lone surrogate
            add(b"s%d:" % len(text))
            add(text)
        elif kind is dict:
            names = sorted(map(str, value))
            add(b"d%d:" % len(names))
            for name in reversed(names):
                left += (value.get(name), name)
        elif kind is list:
            add(b"l%d:" % len(value))
            left.extend(reversed(value))
        elif kind is float:
            add(b"n%s;" % _number(value))
        elif kind is bool:
            add(b"%s;" % repr(value).encode())
        else:
            add(b"?%s;" % type(value).__qualname__.encode())
    return b"".join(parts)


_EXACT: Final = frozenset((str, dict, list, float, bool))


def _kind_of(value: object) -> type | None:
    """Return the type as which a value of another type is written."""
    if value is None:
        return bool
    for kind, written_as in ((str, str), (int | float, float), (list | tuple, list), (Mapping, dict)):
        if isinstance(value, kind):
            return written_as
    return None


def _number(value: float) -> bytes:
    try:
        number = float(value)
    except OverflowError:  # an integer that no float holds
        return b"%x" % value if isinstance(value, int) else b"?"
    return repr(number + 0.0).encode() if math.isfinite(number) else b"?"
