"""What the machine does meanwhile: memory, processor time, the GPU through NVML. May import `strategies` alone."""
