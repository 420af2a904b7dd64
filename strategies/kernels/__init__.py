"""Triton kernels of memory attention; importing any module here needs the package triton.

Where ``TRITON_INTERPRET=1`` is set before anything imports triton (transformers does), they run on a CPU, slowly.
"""
