"""`langgraph dev`, forked off a Python that has most of its imports: half of what a start costs.

It leaves out what reads the environment as it is imported: the API's own modules, and those of the project.
"""

from dev_server import DevServer
from warm import LIBRARIES, start

IMPORTS = (
    *LIBRARIES,
    "langgraph_cli.cli",
    "anyio._backends._asyncio",
    "blockbuster",
    "croniter",
    "google.protobuf.json_format",
    "grpc.aio",
    "grpc_health.v1.health_pb2_grpc",
    "httpcore",
    "httptools",
    "jsonschema_rs",
    "langgraph_grpc_common.checkpointer",
    "langgraph_sdk.runtime",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.prometheus",
    "prometheus_client",
    "rich.traceback",
    "sse_starlette",
    "starlette.applications",
    "starlette.middleware.authentication",
    "starlette.middleware.cors",
    "starlette.staticfiles",
    "structlog",
    "truststore",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "uvloop",
    "watchfiles",
)


class WarmServer(DevServer):
    """A `DevServer`, started by `warm`."""

    @staticmethod
    def _spawn(command, **options):
        return start(command, imports=IMPORTS, **options)
