"""``python -m harness.check``: has anything become worse than in the committed snapshot?"""

from harness.gate.check import main

if __name__ == "__main__":
    raise SystemExit(main())
