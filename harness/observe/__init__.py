"""The machine during a measurement: memory, processor time, the GPU through NVML. May import: schema, strategies."""
