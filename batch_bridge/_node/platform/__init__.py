"""A LangGraph server, as a waiting node and a deployed bridge see it: who reaches it, the inbox and the wake-up."""
