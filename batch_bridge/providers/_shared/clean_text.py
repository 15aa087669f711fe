"""A provider's texts, made fit for a log, a terminal and an exception: no secrets, no control characters."""

import re
from collections.abc import Mapping
from typing import Final

_LONGEST: Final = 500
_SHORTEST_SECRET: Final = 8
"""Characters; a shorter value, such as `test`, is no key, and would be found in ordinary words."""
_MOST_SECRETS: Final = 64
"""Values that are remembered; the oldest goes first. Clients whose key changes by the hour have many."""
_HIDDEN: Final = "***"
_PATTERNS: Final = (
    (re.compile(r"\b(?:sk|sess|rk|pk|ek)-[\w*.\-]+"), _HIDDEN),
    (re.compile(r"\b(?:gsk|tgp|hf|xai)_[\w*.\-]+"), _HIDDEN),
    (re.compile(r"\bAIza[\w-]+"), _HIDDEN),
    (re.compile(r"(?i)([?&]key=)[^&\s'\"]+"), rf"\1{_HIDDEN}"),
    (re.compile(r"(?i)(key provided: )\S+"), rf"\1{_HIDDEN}."),
    (re.compile(r"(?i)\b(bearer )\S+"), rf"\1{_HIDDEN}"),
    (re.compile(r"(?i)\b(basic )(?=[a-z0-9+/]*[A-Z0-9+/])[a-z0-9+/]{8,}={0,2}"), rf"\1{_HIDDEN}"),
    (
        re.compile(r"""(?i)\b((?:x-)?(?:goog-)?api[-_]?key['"]?\s*[:=]\s*['"]?)(?!is\b|was\b)[^\s'",;}]{6,}"""),
        rf"\1{_HIDDEN}",
    ),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.\-]*://)[^\s/@:]*:[^\s/@]*@"), rf"\1{_HIDDEN}@"),
)
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
"""Sequences that move a terminal's cursor, colour it, or set its title."""
_CONTROLS: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+"
)
"""Characters that a log or a terminal obeys and does not show: new lines among them, and changes of direction."""
_HEADERS: Final = ("authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key")
_secrets: dict[str, None] = {}


def remember(secret: object) -> None:
    """Note a value that is never to be shown, literally. Values too short to be a key are left out."""
    if isinstance(secret, str) and len(secret) >= _SHORTEST_SECRET and secret not in _secrets:
        _secrets[secret] = None
        if len(_secrets) > _MOST_SECRETS:
            del _secrets[next(iter(_secrets))]


def remember_headers(headers: Mapping[str, str]) -> None:
    """Note the credentials that a call is made with."""
    for name in _HEADERS:
        if value := headers.get(name):
            remember(value.partition(" ")[2] if name.endswith("authorization") else value)


def holds_secrets(data: bytes) -> bool:
    """Return whether the results of a provider hold keys that calls are made with."""
    return any(secret.encode(errors="surrogatepass") in data for secret in tuple(_secrets))


def without_secrets(line: bytes) -> bytes:
    """Return a line of a provider's results without the keys that calls are made with."""
    for secret in tuple(_secrets):
        if (held := secret.encode(errors="surrogatepass")) in line:
            line = line.replace(held, _HIDDEN.encode())
    return line


def clean(text: str, most: int = 10_000) -> str:
    """Return a text on one line, without keys and without what a terminal obeys, and no longer than `most`."""
    text = text[: 4 * most]
    if not text.isprintable():
        text = _CONTROLS.sub(" ", _ESCAPES.sub("", text)).strip()
    for secret in tuple(_secrets):
        text = text.replace(secret, _HIDDEN)
    for pattern, mask in _PATTERNS:
        text = pattern.sub(mask, text)
    return text if len(text) <= most else text[:most] + "…"


def masked(text: str) -> str:
    """Return a text without API keys, and short; some vendors' own errors repeat a part of the key."""
    return clean(text, _LONGEST)
