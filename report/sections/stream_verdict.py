"""What the verdict says of streams: how fast and how late, and which approximation loses little enough."""

from __future__ import annotations

import pandas as pd

from report.reading.run import Run
from report.render.document import Paragraph
from report.sections.points_table import streamed
from report.sections.stream_losses import in_points, losses


def stream_cost(run: Run, row: pd.Series) -> str:
    """Return what a stream's point does in a second, and how late its masks come."""
    parts = []
    if pd.notna(row["objects_per_s"]):
        parts.append(f"predicts {row['objects_per_s']:.1f} (frame, object) pairs per second")
    if pd.notna(row["step_p95_ms"]):
        parts.append(f"takes {row['step_p95_ms']:.1f} ms or less for 95 of 100 steps")
    rate = run.of(row, "config", "camera_fps")
    if pd.notna(row["realtime"]) and isinstance(rate, int | float):
        parts.append(f"follows each video at {row['realtime']:.2f} times the rate of a camera with {rate:g} frames/s")
    if pd.notna(row["pair_mb"]):
        parts.append(f"keeps {row['pair_mb']:.2f} MB for each (video, object)")
    return f"It {'; it '.join(parts)}." if parts else "How late its masks come was not measured."


def approximations(run: Run, max_loss: float) -> Paragraph | None:
    """Name the fastest approximation whose whole interval loses less than ``max_loss`` points; None without any."""
    found = losses(run)
    rows = [row for row in run.rows.values() if streamed(row) and str(row["point"]) in found]
    if not rows:
        return None
    within = [row for row in rows if found[str(row["point"])].below(max_loss) and pd.notna(row["objects_per_s"])]
    if not within:
        least = min(rows, key=lambda row: found[str(row["point"])].points.hi)
        return Paragraph(
            text=f"No approximation loses less than {max_loss:g} points by its whole interval: the best, "
            f"`{least['label']}`, loses {in_points(found[str(least['point'])])}."
        )
    best = max(within, key=lambda row: row["objects_per_s"])
    return Paragraph(
        text=f"The fastest approximation that loses less than {max_loss:g} points by its whole interval, of "
        f"{len(rows)}, is `{best['label']}` with {best['batch']:.0f} videos at once: {best['objects_per_s']:.1f} "
        f"(frame, object) pairs per second, and {in_points(found[str(best['point'])])} lost."
    )
