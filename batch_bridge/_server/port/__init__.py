"""The port: what a bridge's host asks of whoever runs the threads, and a LangGraph server behind it."""
