"""The threads of a call: where their inputs come from, how each begins or is found again, what it streams."""
