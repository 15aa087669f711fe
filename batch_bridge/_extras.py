"""What to install for a part that needs a vendor's SDK."""

import importlib.util

from batch_bridge.errors import MissingPackageError


def missing(part: str, package: str, extra: str, error: ImportError) -> MissingPackageError:
    """Return the error for a part whose package cannot be imported.

    Args:
        part: What needs it, as the user wrote it.
        package: The module that is imported.
        extra: The extra of this distribution that brings it; empty where it always comes along.
        error: What the import raised. A package that is there, and is too old or broken, is told apart by it.
    """
    why = f"is there and cannot be used ({error})" if _is_there(package) else "is not installed"
    extras = f"[{extra}]" if extra else ""
    return MissingPackageError(
        f"{part} needs the package {package!r}, which {why}; run: pip install 'langgraph-batch-bridge{extras}'",
        name=package,
    )


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # its parent is not there; or a program keeps it away
        return False
