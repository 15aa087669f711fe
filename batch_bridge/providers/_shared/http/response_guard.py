"""What every response passes before an SDK sees it: its host, its size, and how it is decompressed.

SDKs read a body whole and decompress it without bound, and follow redirects with the headers that hold the key. The
guard is a pair of event hooks on the HTTP client, of either library (`httpx` and `httpx2` have the same).
"""

import importlib
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from functools import cache
from typing import Any, Final

from batch_bridge.errors import ResponseRejected
from batch_bridge.providers._shared import clean_text as _clean
from batch_bridge.providers._shared.http.response_limits import ResponseLimits

_PIECE: Final = 65_536
"""Bytes that are decompressed at once."""
_PLAIN: Final = frozenset({"", "identity"})
_ZIPPED: Final = frozenset({"gzip", "x-gzip", "deflate"})
_NO_CREDENTIALS: Final = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "transfer-encoding"}
)
"""The headers that another host gets."""
_PORTS: Final = {"http": 80, "https": 443}
_most: ContextVar[tuple[int, str] | None] = ContextVar("batch_bridge_most_bytes", default=None)


@contextmanager
def at_most(size: int, name: str) -> Iterator[None]:
    """Set how many bytes the responses to the calls within may have, or fewer if that was set around it.

    `name` is the limit's, for the error.
    """
    around = _most.get()
    token = _most.set((size, name) if around is None else min(around, (size, name)))
    try:
        yield
    finally:
        _most.reset(token)


def guarded(http: Any, base_url: Any, limits: ResponseLimits) -> Any:
    """Return an HTTP client that shares all of another one, its connections too, and takes no more than is allowed.

    The other one is not changed.

    Args:
        http: An asynchronous client of `httpx` or `httpx2`.
        base_url: The provider's own address.
        limits: What is allowed.
    """
    twin = copy(http)
    guard(twin, base_url, limits)
    return twin


def guard(http: Any, base_url: Any, limits: ResponseLimits) -> None:
    """Have an HTTP client take no more than is allowed. Idempotent."""
    hooks = http.event_hooks
    if any(isinstance(getattr(each, "__self__", None), ResponseGuard) for each in hooks["response"]):
        return
    own = ResponseGuard(base_url, limits)
    http.event_hooks = {
        "request": [*hooks["request"], own.leaving],
        "response": [own.arrived, *hooks["response"]],
    }


class ResponseGuard:
    """The two hooks.

    Args:
        base_url: The provider's own address.
        limits: What is allowed.
    """

    def __init__(self, base_url: Any, limits: ResponseLimits) -> None:
        self._home = _origin(base_url)
        self._limits = limits

    async def leaving(self, request: Any) -> None:
        """Let a request go to the provider's own host, and to others that were named, without a key.

        Raises:
            ResponseRejected: It would go elsewhere.
        """
        _clean.remember_headers(request.headers)
        request.headers["accept-encoding"] = "gzip"
        scheme, host, port = _origin(request.url)
        own_scheme, own_host, own_port = self._home
        if (scheme, host, port) == self._home or (
            host == own_host and (own_scheme, own_port, scheme, port) == ("http", 80, "https", 443)
        ):
            return
        if scheme != "https" or host not in self._limits.hosts:
            raise ResponseRejected(
                f"the provider at {own_scheme}://{own_host} redirects to {scheme}://{host}:{port}, which was not "
                f"called, and received no key. If its files are there, pass ResponseLimits(hosts=({host!r},)), and it "
                "is called over HTTPS, without the key"
            )
        for name in list(request.headers):
            if name.lower() not in _NO_CREDENTIALS:
                del request.headers[name]

    async def arrived(self, response: Any) -> None:
        """Bound the body of a response.

        Raises:
            ResponseRejected: It is packed in a way that was not asked for.
        """
        size, name = _most.get() or (self._limits.body_bytes, "body_bytes")
        if name == "download_bytes" and response.request.headers.get("accept") == "application/json":
            size, name = self._limits.body_bytes, "body_bytes"  # an SDK asks where the results are, first
        packing = response.headers.get("content-encoding", "").strip().lower()
        if packing not in _PLAIN | _ZIPPED:
            raise ResponseRejected(
                f"the provider's response has the encoding {packing[:40]!r}, but only gzip was requested"
            )
        if packing:
            del response.headers["content-encoding"]
        response.stream = _kind(type(response).__module__.partition(".")[0])(
            response.stream, size, name, is_zipped=packing in _ZIPPED
        )


class _Bounded:
    """A body that ends with an error where it is too long, decompressed a piece at a time."""

    def __init__(self, inner: Any, size: int, name: str, *, is_zipped: bool) -> None:
        self._inner = inner
        self._size = size
        self._name = name
        self._is_zipped = is_zipped

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._size
        unpack = _Unpacker() if self._is_zipped else None
        async for chunk in self._inner:
            for piece in (chunk,) if unpack is None else unpack.feed(chunk):
                left -= len(piece)
                if left < 0:
                    raise ResponseRejected(
                        f"the provider's response is longer than ResponseLimits({self._name}={self._size:_}); the rest "
                        "was not read. Give a higher limit if that is what it should send"
                    )
                yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Unpacker:
    """Decompresses gzip and deflate in pieces of a bounded size."""

    def __init__(self) -> None:
        self._zip = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._is_new = True

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        data = chunk
        while data and not self._zip.eof:
            try:
                piece = self._zip.decompress(data, _PIECE)
            except zlib.error as error:
                if not self._is_new:
                    raise ResponseRejected(f"the provider's response cannot be decompressed ({error})") from error
                self._zip = zlib.decompressobj(-zlib.MAX_WBITS)  # deflate without its header, as some servers send it
                self._is_new = False
                continue
            self._is_new = False
            data = self._zip.unconsumed_tail
            if piece:
                yield piece


@cache
def _kind(library: str) -> Any:
    """Return the class of a bounded body for one HTTP library, which takes none but its own."""
    return type("Bounded", (_Bounded, importlib.import_module(library).AsyncByteStream), {})


def _origin(url: Any) -> tuple[str, str, int | None]:
    scheme, host = str(url.scheme).lower(), str(url.host if hasattr(url, "raw_path") else url.hostname).lower()
    return scheme, host.rstrip("."), url.port or _PORTS.get(scheme)


def rejection_in(error: BaseException | None) -> ResponseRejected | None:
    """Return why a response was refused, if that is what an SDK's error stands for."""
    for _ in range(8):
        if error is None or isinstance(error, ResponseRejected):
            return error
        error = error.__cause__ or error.__context__
    return None
