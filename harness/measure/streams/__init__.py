"""Streams measured. May import: measure, row, result, options, observe, data, store, masks, workload, strategies."""
