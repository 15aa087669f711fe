"""The provider and settings of a job: the same key with other settings is another job. Pure."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import orjson

from batch_bridge._core.models import JSON, Request
from batch_bridge._core.provider import Provider
from batch_bridge.errors import ProviderError, RunMismatchError
from batch_bridge.jobs._job_rows import Job

_LONGEST_ROW: Final = 50_000
"""Bytes of a request that are kept to show what differs."""
_LONGEST_VALUE: Final = 40
"""Characters of a value that an error shows."""
_SHOWN: Final = 5
"""Differences that an error names."""


@dataclass(frozen=True, slots=True)
class JobTarget:
    """To whom a job was sent, and with which settings, as `Job` describes it."""

    groups: tuple[str, ...]
    settings: str
    first: str


def target_of(provider: Provider, handle: str, items: Iterable[tuple[str | None, JSON]]) -> JobTarget:
    """Return the groups of a job's requests, a digest of all that decides their answers, and the first one's of it.

    The digest is empty where the provider does not tell, or cannot: it has no API key.
    """
    groups: dict[str, None] = {}
    digest, first = hashlib.blake2b(digest_size=16), ""
    identity = getattr(provider, "identity", None)
    for index, (_, item) in enumerate(items):
        request = Request(str(index), handle, item)
        try:
            groups[provider.measure(request).group] = None
            if identity is not None:
                content = identity(request)
                digest.update(len(content).to_bytes(8, "big") + content)
                first = first or _kept(content)
        except ProviderError:
            identity = None
        except Exception:  # noqa: BLE001, S112  # what is wrong with a request is what it ends with
            continue
    return (
        JobTarget(tuple(groups), digest.hexdigest(), first)
        if identity is not None
        else JobTarget(tuple(groups), "", "")
    )


def _kept(identity: bytes) -> str:
    return identity.decode(errors="replace") if len(identity) <= _LONGEST_ROW else ""


def compare_settings(job: Job, now: JobTarget) -> None:
    """Check that a job was created with these settings, as far as that is known.

    Raises:
        RunMismatchError: It was not; the error names what differs.
    """
    if not job.settings or not now.settings or job.settings == now.settings:
        return
    differs = [
        f"it was sent to {', '.join(job.groups)} then, and to {', '.join(now.groups)} now"
        if set(job.groups) != set(now.groups)
        else "its parameters differ (the provider's own, such as a temperature), or the address to which they are sent"
    ]
    named = [f"{name}: {old} then, {new} now" for name, old, new in _differences(job.first, now.first)]
    raise RunMismatchError(
        f"a job with this key was submitted with the same items and other settings: {'; '.join(differs + named)}. Use "
        "another key to submit it again, or the same settings to continue that job",
        index=0,
    )


def _differences(old: str, new: str) -> Sequence[tuple[str, str, str]]:
    try:
        return tuple(islice(_walk(orjson.loads(old), orjson.loads(new), ""), _SHOWN))
    except ValueError:  # a provider's own identity need be no JSON
        return ()


def _walk(old: object, new: object, name: str) -> Iterator[tuple[str, str, str]]:
    """Yield where two JSON values differ: the name of the field, and both values where they are short."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _walk(old.get(key, ...), new.get(key, ...), f"{name}.{key}" if name else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for one, other in zip(old, new, strict=True):
            yield from _walk(one, other, name)
    else:
        yield name or "where it is sent", _show(old), _show(new)


def _show(value: object) -> str:
    if value is ...:
        return "none"
    text = repr(value)
    return text if isinstance(value, str | int | float | bool) and len(text) <= _LONGEST_VALUE else "another"
