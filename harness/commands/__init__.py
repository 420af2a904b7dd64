"""Commands beside the sweep: certificates, labelling, collecting, kernels, training, tables. May import: all below."""
