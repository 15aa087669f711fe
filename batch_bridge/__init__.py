"""LangGraph agents on batch APIs."""

__version__ = "0.1.0"
