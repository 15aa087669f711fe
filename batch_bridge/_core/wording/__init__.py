"""What people read: the loggers, what the log may hold, figures in words, tables in notebooks."""
