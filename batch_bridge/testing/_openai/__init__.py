"""OpenAI's wire format, and Azure's."""
