"""The command `batch-bridge`: one module a command."""
