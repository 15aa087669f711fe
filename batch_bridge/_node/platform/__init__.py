"""A LangGraph server, as a waiting node and a deployed bridge see it: its clients, the inbox and the wake-up."""
