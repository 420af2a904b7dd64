"""The scenario of streams: masks, speed, latency. May import: result, row, options, observe, data, masks, workload."""
