"""Runs on disk, their environment and history. May import: column, options, result, row, schema, stats, strategies."""
