"""A run's folder, read back. May import: harness, strategies."""
