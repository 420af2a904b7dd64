"""A run's folder, read back. May import `harness`, nothing else of `report`."""
