"""Runs on disk, their environment and their history. May import: options, result, row, schema, stats, strategies."""
