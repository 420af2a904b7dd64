"""``python -m harness.collect``: the summary and the report of a run in parts."""

from harness.guard import start

if __name__ == "__main__":
    raise SystemExit(start("harness.commands.collect"))
