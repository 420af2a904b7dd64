"""Streams measured. May import: row, result, options, observe, data, store, masks, workload, strategies."""
