"""``python -m harness.certify``: how far this harness can be trusted on this machine."""

from harness.commands.certify import main

if __name__ == "__main__":
    raise SystemExit(main())
