"""The row of summary.csv that a grid point ends with, column by column, by themes. May import: column, stats."""

from harness.row.masks import Masks
from harness.row.point import Scenario, Status
from harness.row.row import (
    CATALOGUE,
    COLUMNS,
    GATED,
    SETTING,
    SPEEDUP,
    STAR,
    STATUSES,
    Row,
    column_reference,
    doubtful_column,
)

__all__ = [
    "CATALOGUE",
    "COLUMNS",
    "GATED",
    "SETTING",
    "SPEEDUP",
    "STAR",
    "STATUSES",
    "Masks",
    "Row",
    "Scenario",
    "Status",
    "column_reference",
    "doubtful_column",
]
