"""``python -m harness.kernels``: the fused cross-attention beside the library's kernels."""

from harness.commands.kernels import main

if __name__ == "__main__":
    raise SystemExit(main())
