"""The errors that BatchBridge raises on purpose."""


class BatchBridgeError(Exception):
    """Everything that BatchBridge raises on purpose."""
