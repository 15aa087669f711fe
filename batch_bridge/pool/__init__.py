"""Many processes, one bridge: threads are jobs in Postgres, which procrastinate carries. Needs the extra `pool`."""

from importlib.util import find_spec

from batch_bridge.errors import MissingPackageError

for _module in ("procrastinate", "psycopg", "langgraph.checkpoint.postgres"):
    if find_spec(_module) is None:
        raise MissingPackageError(
            f"batch_bridge.pool needs the package {_module!r}, which is not installed; "
            "run: pip install 'langgraph-batch-bridge[pool]'",
            name=_module,
        )

from batch_bridge.pool._pool import Pool  # noqa: E402

__all__ = ["Pool"]
