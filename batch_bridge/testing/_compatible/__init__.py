"""Servers that are like OpenAI's and not quite."""
