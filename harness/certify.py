"""``python -m harness.certify``: how far this harness can be trusted on this machine."""

from harness.guard import start

if __name__ == "__main__":
    raise SystemExit(start("harness.commands.certify"))
