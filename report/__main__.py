"""``python -m report [results/<run>]``: write a run's report again; the latest run's where none is named."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from report.write import write_report
from strategies.errors import UserError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m report", description="Write the report of a run.")
    parser.add_argument("run", type=Path, nargs="?", default=Path("results/latest"), help="the run's folder")
    try:
        print(write_report(parser.parse_args().run))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
