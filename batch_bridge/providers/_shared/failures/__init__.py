"""What went wrong at a provider, and what it means to the engine."""
