"""``python -m harness.kernels``: the fused cross-attention beside the library's kernels."""

from harness.guard import start

if __name__ == "__main__":
    raise SystemExit(start("harness.commands.kernels"))
