"""The HTTP side of the Batch API server: routes, settings, faults, its process."""
