"""A deterministic simulator: hosts, engine and LangGraph as they are, in a world that one seed decides."""
