"""What is told when the receiver's packages are not installed."""

from importlib.util import find_spec
from typing import Final

from batch_bridge.errors import MissingPackageError

_PACKAGES: Final = ("starlette", "uvicorn")


def require_starlette() -> None:
    """Check that deliveries can be received.

    Raises:
        MissingPackageError: A package is not installed; the message says what to run.
    """
    for name in _PACKAGES:
        try:
            is_here = find_spec(name) is not None
        except ImportError:
            is_here = False
        if not is_here:
            raise MissingPackageError(
                f"batch_bridge.webhooks needs the package {name!r}, which is not installed; "
                "run: pip install 'langgraph-batch-bridge[server]'",
                name=name,
            )
