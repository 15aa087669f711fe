"""Responses in the background, with a completion window."""
