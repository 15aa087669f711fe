"""Traces and metrics for OpenTelemetry. Needs the extra `otel`.

::

    from batch_bridge.otel import Telemetry

    bridge = Bridge(OpenAIBatch(model="gpt-4o-mini"), telemetry=Telemetry())

Where they go is OpenTelemetry's own matter: set up a `TracerProvider` and a `MeterProvider`, or run the program with
`opentelemetry-instrument`.
"""

from batch_bridge.errors import MissingPackageError

try:
    import opentelemetry.trace  # noqa: F401
except ImportError as error:
    raise MissingPackageError(
        "batch_bridge.otel needs the package 'opentelemetry-api', which is not installed; "
        "run: pip install 'langgraph-batch-bridge[otel]'",
        name="opentelemetry",
    ) from error

from batch_bridge.otel._telemetry import Telemetry

__all__ = ["Telemetry"]
