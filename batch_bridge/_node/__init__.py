"""What runs inside a LangGraph node: waiting, and telling the bridge of it."""
