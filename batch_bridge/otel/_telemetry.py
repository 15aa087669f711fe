"""What a bridge is given so that it traces itself."""

from opentelemetry import trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from batch_bridge._core.payload.trace_context import capture_with
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._engine.telemetry import BatchTrace, Figures, Totals
from batch_bridge.otel._metrics import Metrics
from batch_bridge.otel._spans import Spans

logger = logger_of(__name__)


class Telemetry:
    """Spans and metrics of the bridges that are given it: `Bridge(…, telemetry=Telemetry())`; one may serve several.

    A span for each batch is made when that has ended, in a trace of its own. A request that was asked for inside of a
    span of yours has a span in that trace, which is linked with its batch's, and back. Ids follow from the batch and
    the request, and where they were asked is kept in the ledger: after a crash the next process makes what is missing,
    and one that is made again has the same id and content. Prompts and answers are in none of it.

    Args:
        tracer_provider: Where tracers come from; OpenTelemetry's own of this process, if left out.
        meter_provider: Where meters come from, likewise.
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._spans = Spans(tracer_provider)
        self._metrics = Metrics(meter_provider)
        self._has_warned = False
        capture_with(_current)

    def ended(self, trace: BatchTrace) -> None:
        """Make the spans of a batch that has ended."""
        try:
            self._spans.tell(trace)
        except Exception as error:  # noqa: BLE001  # an exporter is foreign code, which must not harm the run
            if not self._has_warned:
                self._has_warned = True
                about_it = about(bridge=trace.bridge, batch=trace.batch.key)
                logger.warning("a batch could not be traced: %s", _logged.said(error), extra=about_it)

    def figures(self, bridge: str, figures: Figures, totals: Totals, currency: str) -> None:
        """Take how a bridge is now."""
        self._metrics.tell(bridge, figures, totals, currency)


def _current() -> str:
    """Return the context of the span that is open here, as a `traceparent`; empty if none is, or it is not sampled."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid or not context.trace_flags.sampled:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
