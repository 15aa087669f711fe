"""The providers: one module for each vendor, and `create`, which makes a provider by its name."""

from batch_bridge.providers._shared.allow import Allow
from batch_bridge.providers._shared.create import create
from batch_bridge.providers._shared.http.response_limits import ResponseLimits

__all__ = ["Allow", "ResponseLimits", "create"]
