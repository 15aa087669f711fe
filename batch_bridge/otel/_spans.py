"""The spans of a batch: its own, in a trace of its own, and one for each request in the trace where it was asked.

Names and attributes are those of the GenAI semantic conventions where they have one, and `batch_bridge.*` where not.
Source: https://github.com/open-telemetry/semantic-conventions-genai (`gen_ai.*` of client spans).
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from batch_bridge._core.wording.log_text import handle as shown_handle
from batch_bridge._engine.telemetry import BatchTrace, TracedRequest
from batch_bridge.otel._ids import following, span_id, trace_id

_SCOPE: Final = "batch_bridge"
_MOST_LINKS: Final = 128
"""Links of one span: the SDK keeps no more. Source: OpenTelemetry specification, `OTEL_SPAN_LINK_COUNT_LIMIT`."""
_PROVIDERS: Final[Mapping[str, str]] = {"google": "gcp.gemini", "azure": "azure.ai.openai"}
"""What the conventions call a vendor that we call otherwise."""
_OPERATIONS: Final = (
    ("embeddings", "embeddings"),
    ("/v1/completions", "text_completion"),
    ("generateContent", "generate_content"),
)


class Spans:
    """Makes the spans of ended batches.

    Args:
        provider: Where tracers come from; OpenTelemetry's own of this process, if left out.
    """

    def __init__(self, provider: trace.TracerProvider | None) -> None:
        self._provider = provider

    def tell(self, told: BatchTrace) -> None:
        """Make the spans of a batch, all at once: they begin and end in the past."""
        tracer = trace.get_tracer(_SCOPE, tracer_provider=self._provider)
        batch = told.batch
        own = _context(trace_id(told.bridge, batch.key), span_id(told.bridge, batch.key), TraceFlags.SAMPLED)
        asked = [(each, parent) for each in told.requests if (parent := _read(each.context)) is not None]
        links = [
            Link(_of_request(told, each, parent), {"batch_bridge.request.id": each.id})
            for each, parent in asked[:_MOST_LINKS]
        ]
        begun, ended = _nanoseconds(batch.submitted_at.timestamp()), _nanoseconds(batch.ended_at.timestamp())
        ids = following(tracer)
        with nullcontext() if ids is None else ids.pinned(own.trace_id, own.span_id):
            span = tracer.start_span(
                f"batch {_model(told)}".strip(),
                context=Context(),
                kind=SpanKind.CLIENT,
                attributes=_attributes(told),
                links=links,
                start_time=begun,
            )
        if batch.outcomes and not batch.outcomes.get("succeeded"):
            span.set_status(Status(StatusCode.ERROR, ", ".join(sorted(batch.outcomes))))
        span.end(end_time=ended)
        for each, parent in asked:
            with nullcontext() if ids is None else ids.pinned(parent.trace_id, span_id(batch.key, each.id)):
                tracer.start_span(
                    f"{_operation(told)} {_model(told)}".strip(),
                    context=trace.set_span_in_context(NonRecordingSpan(parent), Context()),
                    kind=SpanKind.CLIENT,
                    attributes={
                        **_call(told),
                        "batch_bridge.bridge": told.bridge,
                        "batch_bridge.request.id": each.id,
                        "batch_bridge.batch.key": batch.key,
                    },
                    links=[Link(span.get_span_context() if ids is not None else own)],
                    start_time=_nanoseconds(each.asked_at),
                ).end(end_time=max(ended, _nanoseconds(each.asked_at)))


def _of_request(told: BatchTrace, request: TracedRequest, parent: SpanContext) -> SpanContext:
    return _context(parent.trace_id, span_id(told.batch.key, request.id), parent.trace_flags)


def _attributes(told: BatchTrace) -> dict[str, Any]:
    batch, usage = told.batch, told.batch.usage
    failures = sorted(batch.failures.items(), key=lambda each: -each[1])
    attributes: dict[str, Any] = {
        **_call(told),
        "batch_bridge.bridge": told.bridge,
        "batch_bridge.batch.key": batch.key,
        "batch_bridge.batch.requests": batch.requests + batch.resubmitted,
        "batch_bridge.batch.resubmitted": batch.resubmitted,
        "batch_bridge.batch.paid_twice": batch.paid_twice,
    }
    attributes |= {f"batch_bridge.batch.{kind}": count for kind, count in batch.outcomes.items()}
    if (handle := _name(batch.handle)) is not None:
        attributes["batch_bridge.batch.id"] = handle
    if failures:
        attributes["error.type"] = failures[0][0][1]
    if usage is not None:
        attributes |= {
            "gen_ai.response.model": usage.model,
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
        }
        if usage.cached_tokens:
            attributes["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
    return attributes


def _call(told: BatchTrace) -> dict[str, str]:
    call = {"gen_ai.operation.name": _operation(told)}
    if told.vendor:
        call["gen_ai.provider.name"] = _PROVIDERS.get(told.vendor, told.vendor)
    if model := _model(told):
        call["gen_ai.request.model"] = model
    return call


def _operation(told: BatchTrace) -> str:
    endpoint, _, _ = told.batch.group.rpartition(" ")
    return next((name for part, name in _OPERATIONS if part in endpoint), "chat")


def _model(told: BatchTrace) -> str:
    return told.batch.group.rpartition(" ")[2] or (told.batch.usage.model if told.batch.usage else "")


def _name(handle: object) -> str | None:
    """Return what of a handle a person would look for at the provider, and nothing that a user may have put there."""
    if isinstance(handle, dict):
        handle = next((handle[name] for name in ("id", "batch", "batch_id", "name") if name in handle), None)
    shown = shown_handle(handle)
    return shown if isinstance(shown, str) and shown != "…" else None


def _read(context: str) -> SpanContext | None:
    """Return the context that a `traceparent` names, if it is sampled."""
    _, trace_part, span_part, flags = context.split("-")
    found = _context(int(trace_part, 16), int(span_part, 16), int(flags, 16))
    return found if found.is_valid and found.trace_flags.sampled else None


def _context(trace_part: int, span_part: int, flags: int) -> SpanContext:
    return SpanContext(trace_part, span_part, is_remote=True, trace_flags=TraceFlags(flags))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
