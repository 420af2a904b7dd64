"""Commands beside the sweep: the certificate, the kernels, training the toy. May import all but `gate`."""
