"""``python -m harness.train_toy``: train the toy model on drawn specimens."""

from harness.guard import start

if __name__ == "__main__":
    raise SystemExit(start("harness.commands.train_toy"))
