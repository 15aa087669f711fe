"""What a file may not say: its author must not get the environment's keys, or make its reader hang. Pure."""

import os
import re
from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from batch_bridge.providers._shared.create import KINDS

_DEEPEST: Final = 64
_MOST_VALUES: Final = 100_000
TOO_DEEP: Final = f"it is nested deeper than {_DEEPEST} levels, or refers to itself; write it flatter"
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_AZURE: Final = (".openai.azure.", ".cognitiveservices.azure.", ".services.ai.azure.")
_ADDRESSES: Final = ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "AZURE_OPENAI_ENDPOINT", "GOOGLE_GEMINI_BASE_URL")
"""Variables in which the environment itself names the host of its keys."""
_HOSTS: Final = "BATCH_BRIDGE_HOSTS"
_KEY_NAMES: Final = frozenset(
    {
        "api-key",
        "api_key",
        "apikey",
        "authorization",
        "cookie",
        "password",
        "proxy-authorization",
        "secret",
        "client_secret",
        "token",
        "access_token",
        "auth_token",
        "x-api-key",
        "x-goog-api-key",
    }
)
_KEY: Final = re.compile(
    r"(?i)\b(?:(?:sk|gsk|rk|sess)[-_][a-z0-9_\-]{12,}|AIza[\w-]{20,}|(?:bearer|basic) [\w+/=.\-]{8,})"
)


def shape_problem(read: Any) -> str | None:
    """Return what is wrong with how a file is nested, if anything: anchors of YAML can make little text very much."""
    left, todo = _MOST_VALUES, [(read, 0)]
    while todo:
        value, depth = todo.pop()
        left -= 1
        if depth > _DEEPEST:
            return TOO_DEEP
        if left < 0:
            return f"it contains more than {_MOST_VALUES:,} values, with anchors expanded; remove some"
        held = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        todo.extend((each, depth + 1) for each in held)
    return None


def without_keys(defaults: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the fields for bodies.

    Raises:
        ValueError: One of them holds a key; its value is not repeated.
    """
    todo: list[tuple[str, Any]] = [("", defaults)]
    while todo:
        path, value = todo.pop()
        if isinstance(value, str):
            if path.rpartition(".")[2].lower() in _KEY_NAMES or _KEY.search(value):
                raise ValueError(
                    f"a secret does not belong into a file, and {path} is one: bodies go to the provider as they are; "
                    'put the key into an environment variable and write the name of that: api_key_env = "…"'
                )
        elif isinstance(value, Mapping):
            todo.extend((f"{path}.{name}".lstrip("."), each) for name, each in value.items())
        elif isinstance(value, list):
            todo.extend((path, each) for each in value)
    return defaults


def check_host(table: Any, hosts: Collection[str]) -> None:
    """Pass if a provider's address is one that a key of this environment may be sent to.

    Args:
        table: The provider's.
        hosts: Those that the caller has named.

    Raises:
        ValueError: It is another one.
    """
    address = getattr(table, "base_url", None) or getattr(table, "azure_endpoint", None)
    host = (urlsplit(address).hostname or "") if address else ""
    by_variable = (urlsplit(os.environ.get(each, "")).hostname for each in _ADDRESSES)
    named = {*hosts, *os.environ.get(_HOSTS, "").replace(",", " ").split(), *by_variable}
    if not host or host in _LOCAL or host in named or _is_own(table.name, host):
        return
    key = table.api_key_env or "the vendor's own variable"
    raise ValueError(
        f"its address is at {host}, which is not one of {table.name}'s and would receive the key in {key}; to allow "
        f"this, name the host where the file is read: load_bridges(…, hosts=[{host!r}]), or in the "
        f"environment: {_HOSTS}={host}"
    )


def _is_own(name: str, host: str) -> bool:
    if name == "azure" and not any(part in host for part in _AZURE):
        return False
    return any(host == own or host.endswith(f".{own}") for own in KINDS[name].hosts)
