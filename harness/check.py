"""``python -m harness.check``: has anything become worse than in the committed snapshot?"""

from harness.guard import start

if __name__ == "__main__":
    raise SystemExit(start("harness.gate.check"))
