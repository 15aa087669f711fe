"""Clients and models that look like their vendor's own, and answer through a bridge or a `Batcher`."""
