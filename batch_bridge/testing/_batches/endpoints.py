"""The endpoints that a batch, or a realtime call, may name.

Source: platform.openai.com/docs/api-reference/batch/create
"""

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"
COMPLETIONS = "/v1/completions"
MODERATIONS = "/v1/moderations"
IMAGES = "/v1/images/generations"
MESSAGES = "/v1/messages"
"""Anthropic's; no batch of OpenAI's takes it."""

ENDPOINTS = (RESPONSES, CHAT, EMBEDDINGS, COMPLETIONS, MODERATIONS, IMAGES)
"""What this server answers; the provider's image edits and videos need file uploads that it does not take."""
