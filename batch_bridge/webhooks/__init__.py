"""A receiver of webhooks, which wakes a bridge: what has ended is collected within seconds, not at the next poll.

::

    from batch_bridge import webhooks

    api = FastAPI()
    api.mount("/batch-bridge", webhooks.app(batcher))  # POST /batch-bridge/webhooks/openai

For OpenAI's events of batches and of responses in the background, signed with `OPENAI_WEBHOOK_SECRET`; with `sender=`,
for those of Gemini's and OpenRouter's batches. Needs the extra `server`. `batch-bridge webhooks --file run.db` is the
same in a process of its own.
"""

from batch_bridge._status.extra import require

require("batch_bridge.webhooks", "server", "starlette", "uvicorn")

from batch_bridge.webhooks._app import PATH, app
from batch_bridge.webhooks._targets import Target

__all__ = ["PATH", "Target", "app"]
