"""``python -m harness.reference``: write REFERENCE.md, the options, columns, statuses and exit codes, from the code."""

from harness.guard import start

if __name__ == "__main__":
    raise SystemExit(start("harness.commands.reference"))
