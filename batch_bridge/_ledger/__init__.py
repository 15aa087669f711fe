"""What must survive a crash: a bridge's rows in any LangGraph store."""
