"""A batch's results on their way from the provider, and how answers are read."""
