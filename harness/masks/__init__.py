"""Masks compared, scored, pictured, and how far they may differ. May import: data, row, store, strategies."""
