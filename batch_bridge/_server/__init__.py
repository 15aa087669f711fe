"""The server host: the engine, driven by the runs of a bridge's graph on a LangGraph server."""
