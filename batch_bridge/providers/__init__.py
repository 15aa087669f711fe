"""Who answers batches: one module for each vendor."""
