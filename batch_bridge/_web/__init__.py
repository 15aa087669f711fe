"""The page of `batch-bridge watch --web`: what a file tells, live, and buttons. Needs the extra `web`."""
