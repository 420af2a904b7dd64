"""``python -m harness.train_toy``: train the toy model on drawn specimens."""

from harness.commands.train_toy import main

if __name__ == "__main__":
    raise SystemExit(main())
