"""A receiver of webhooks that wakes the deployment's bridge."""

from bridges import bridge

from batch_bridge import webhooks

app = webhooks.app(bridge)
