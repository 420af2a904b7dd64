"""Runs on disk, their environment and their history. May import: column, options, result, row, schema, stats, strategies."""
