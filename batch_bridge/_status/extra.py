"""The error text for an extra whose packages are not installed."""

from importlib.util import find_spec

from batch_bridge.errors import MissingPackageError


def require(what: str, extra: str, *packages: str) -> None:
    """Check that packages are installed; none is imported.

    Args:
        what: What needs them, as its user calls it.
        extra: The extra that brings them.
        packages: Their import names.

    Raises:
        MissingPackageError: A package is not installed; the message says what to run.
    """
    for name in packages:
        try:
            is_here = find_spec(name) is not None
        except ImportError:
            is_here = False
        if not is_here:
            raise MissingPackageError(
                f"{what} needs the package {name!r}, which is not installed; "
                f"run: pip install 'langgraph-batch-bridge[{extra}]'",
                name=name,
            )


def require_web() -> None:
    """Check that the page can be served. Raises as `require` does."""
    require("watch --web", "web", "starlette", "jinja2", "uvicorn", "python_multipart")
