"""Drop-in clients: an SDK's own client object whose calls are answered from batches."""

from batch_bridge._dropin.openai.wrap import wrap_openai

__all__ = ["wrap_openai"]
