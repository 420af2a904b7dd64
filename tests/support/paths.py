"""Where the checkout is, and the real clips beside it, which are not part of the project."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLIPS = ROOT.parent / "shared" / "data"
