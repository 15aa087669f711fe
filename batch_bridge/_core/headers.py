"""The HTTP headers of a call that may change its answer or its payer. Pure.

A line of a batch has no headers. So a header that decides nothing is left out, and one that may decide something is
never dropped: the caller refuses such a call, or makes it at once. A header that is not listed here may decide.
"""

from collections.abc import Mapping
from typing import Final

_NEUTRAL: Final = frozenset(
    {
        # the sender
        "http-referer",
        "origin",
        "referer",
        "user-agent",
        "x-title",
        # how the response travels
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "connection",
        "content-length",
        "host",
        # what this call is called in traces
        "b3",
        "baggage",
        "correlation-id",
        "request-id",
        "sentry-trace",
        "trace-id",
        "traceparent",
        "tracestate",
        "uber-trace-id",
        "x-amzn-trace-id",
        "x-client-request-id",
        "x-cloud-trace-context",
        "x-correlation-id",
        "x-ms-client-request-id",
        "x-request-id",
        "x-trace-id",
    }
)
_NEUTRAL_PREFIXES: Final = ("x-b3-", "x-datadog-", "x-goog-api-client", "x-ot-span-", "x-stainless-")
"""Prefixes of headers without effect. SDKs describe themselves in `x-stainless-` and `x-goog-api-client`.

Source: W3C Trace Context; W3C Baggage; OpenZipkin B3; what Datadog, Sentry, Jaeger and AWS X-Ray say of propagation;
OpenAI API reference, "Debugging requests", `X-Client-Request-Id`; OpenRouter, "App attribution", `HTTP-Referer` and
`X-Title`.
"""


def decides(name: str) -> bool:
    """Return whether a header may change an answer or its payer. `name` is in any case."""
    lower = name.lower()
    return lower not in _NEUTRAL and not lower.startswith(_NEUTRAL_PREFIXES)


def deciding(headers: Mapping[str, object], usual: Mapping[str, object] | None = None) -> dict[str, str]:
    """Return the headers that may decide something, by lower-case name.

    Args:
        headers: Those of a call, or the default ones of a client. Values that are no strings say that a header is to
            be left out.
        usual: Those that go with the call anyway. A header that repeats one of them changes nothing, and is left out.
    """
    known = {name.lower(): value for name, value in (usual or {}).items()}
    return {
        name.lower(): value
        for name, value in headers.items()
        if isinstance(value, str) and decides(name) and known.get(name.lower()) != value
    }
