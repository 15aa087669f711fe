"""The open half of a Runner, bound to one event loop."""
