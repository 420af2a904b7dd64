"""``python -m harness.reference``: write REFERENCE.md, the options, columns, statuses and exit codes, from the code."""

from harness.commands.reference import main

if __name__ == "__main__":
    raise SystemExit(main())
