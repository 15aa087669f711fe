"""The clients that call a provider, and what each response passes before an SDK sees it."""
