"""The error text for a provider whose SDK is not installed."""

from importlib.util import find_spec

from batch_bridge.errors import MissingPackageError


def require_extra(sdk: str, extra: str) -> None:
    """Check that an SDK is installed; called before anything imports it.

    Args:
        sdk: The module that the SDK is, e.g. `"google.genai"`.
        extra: The extra of this distribution that brings it.

    Raises:
        MissingPackageError: It is not installed; the message says what to run.
    """
    try:
        is_here = find_spec(sdk) is not None
    except ImportError:  # the package that it is in, or a program keeps it away
        is_here = False
    if not is_here:
        raise MissingPackageError(
            f"this provider needs the package {sdk!r}, which is not installed; "
            f"run: pip install 'langgraph-batch-bridge[{extra}]'",
            name=sdk,
        )
