"""Commands beside the sweep: certificate, kernels, training, reference. May import: all below."""
