"""``python -m harness.label``: a folder of pictures becomes masks."""

from harness.guard import start

if __name__ == "__main__":
    raise SystemExit(start("harness.commands.label"))
