"""The port: what a bridge's host asks of the server that runs the threads, with a LangGraph server behind it."""
