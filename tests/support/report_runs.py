"""Run folders made by hand for tests of reports, and what their tables say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harness.result import Block, PointResult
from harness.row import Row
from harness.store.results import RunFolder
from report import write_report
from report.reading.run import Run, read_run
from report.render.document import Document, Drawing, Section
from report.render.figures import rendered
from report.render.markdown import render_markdown
from report.write import report_of as document_of

ENVIRONMENT: dict[str, Any] = {
    "device": "a processor",
    "cpu": {"name": "a processor", "cores": 2, "memory_gb": 8.0, "flags": ["avx2"], "torch_capability": "AVX2"},
    "gpu": None,
    "python": "3.11.0",
    "platform": "Linux",
    "packages": {"torch": "2.11.0", "triton": None},
    "threads": 1,
    "git_commit": None,
    "git_changed": None,
}


GPU = {"name": "a card", "uuid": "GPU-1", "memory_gb": 80.0, "capability": "9.0", "driver": None, "cuda": "13.0"}


AGREED = {"iou_mean": 0.9991, "iou_min": 0.9912, "max_abs_dlogit": 1e-5, "gate_flips": 0, "pick_flips": 0, "jf": 0.75}


AGREEMENT: dict[str, Any] = {
    **{"iou_mean": 1.0, "iou_p1": 1.0, "iou_min": 0.9, "share_at_99": 0.875, "max_abs_dlogit": 1e-5},
    **{"relative_dlogit": 1e-6, "typical_dlogit": 1e-6, "iou_alike": 1.0, "max_abs_dscore": 0.0, "max_abs_diou": 0.0},
    **{"gate_flips": 0, "pick_flips": 0, "excused_flips": 0, "gate_flip_score": 0.0, "pick_flip_margin": 0.0},
    **{"targets": 8, "per_object": {"木/1": {"iou_mean": 0.98}, "木/2": {"iou_mean": 0.93}}},
}
"""What a point's details have of it."""


SCENE = "0a1b2c3d-o4"
"""The folder of a scene's pictures."""


FASTER = {
    **{"reference": "sequential", "speedup": 4.341, "speedup_lo": 4.212, "speedup_hi": 4.689, "verdict": "faster"},
    **{"blocks": 24, "converged": True},
}


CONFIG = {"timing": {"same": 0.05}, "project_to": 29066}


SERIES: dict[str, list[Any]] = {
    "seconds": [0.0, 0.2, 0.2, 0.4, 0.6],
    "phase": ["", "checking the masks", "timing", "timing", "timing"],
    "rss_mb": [400.0, 410.0, 410.0, None, 420.0],
    "cpu_s": [1.0, 1.2, 1.2, 1.6, 1.9],
}


GPU_SERIES: dict[str, list[Any]] = {
    **{"utilisation": [0, 90, 90, 95, 90], "memory_used_mb": [1000.0, 2000.0, 2000.0, 2100.0, 2100.0]},
    **{"power_w": [80.0, 300.0, 300.0, None, 320.0], "temperature_c": [40, 41, 41, 45, 50]},
    **{"sm_clock_mhz": [1200, 1980, 1980, 1980, 1900]},
}


Details = Mapping[str, dict[str, Any]]


def run_folder(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    *,
    environment: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    details: Details | None = None,
    samples: Mapping[str, list[Block]] | None = None,
) -> Path:
    """A run's folder. details, samples: of the points, by their names."""
    run = RunFolder(folder)
    run.write_json("environment.json", environment or ENVIRONMENT)
    results = []
    for one in rows:
        kept = {name: (given or {}).get(one["point"]) for name, given in (("details", details), ("samples", samples))}
        known = {name: value for name, value in kept.items() if value is not None}
        results.append(PointResult(row=Row(**one), config=config or {}, **known))
    run.add(*results)
    return folder


def text_of(folder: Path) -> str:
    """The text of the folder's report.md; its figures are made and not drawn, which would take a second."""
    return render_markdown(document_of(read_run(folder)))


def report_of(folder: Path, rows: Sequence[dict[str, Any]], **options: Any) -> str:
    """The text of the report of such a run, whose figures are not drawn."""
    return text_of(run_folder(folder, rows, **options))


def section_of(
    folder: Path, rows: Sequence[dict[str, Any]], section: Callable[[Run], Section | None], **options: Any
) -> str:
    """The text of one section of the report of such a run; others would have figures to make."""
    found = section(read_run(run_folder(folder, rows, **options)))
    return "" if found is None else render_markdown(Document(title="", sections=(found,)))


def written_section(folder: Path, section: Callable[[Run], Section | None]) -> str:
    """The text of one section of a run's report, whose figures alone are drawn into the run's folder."""
    found = section(read_run(folder))
    if found is None:
        return ""
    for block in found.blocks:
        if isinstance(block, Drawing):
            for name, content in rendered(block)[1].items():
                (folder / name).write_bytes(content)
    return render_markdown(Document(title="", sections=(found,)))


def written_report_of(folder: Path, rows: Sequence[dict[str, Any]], **options: Any) -> str:
    """The text of the report of such a run, with all its files in the folder."""
    return write_report(run_folder(folder, rows, **options)).read_text(encoding="utf-8")


def draw_scene(folder: Path, points: Sequence[str], *, truth: bool = True) -> None:
    """Pictures as a run keeps them: one target of each point, in which it differs a little."""
    for point in points:
        draw_targets(folder, point, [worst_target(iou=0.9912)], truth=truth, cut=1)


def worst_target(
    group: str = "specimen000", number: int = 0, target: int = 0, object_id: int | None = 254, iou: float | None = 1.0
) -> dict[str, Any]:
    return {"group": group, "number": number, "target": target, "object_id": object_id, "iou": iou}


def draw_targets(
    folder: Path,
    point: str,
    targets: Sequence[dict[str, Any]],
    *,
    truth: bool = True,
    compared: bool = True,
    cut: int = 0,
) -> None:
    """A point's targets in a scene's folder. cut: so many rows of the object are missing in what the point predicts."""
    for one in targets:
        place = folder / str(one["number"])
        place.mkdir(parents=True, exist_ok=True)
        photograph, target = Image.fromarray(np.full((20, 30, 3), 90, dtype=np.uint8)), f"target{one['target']}"
        for name in ("reference", target):
            photograph.save(place / f"{name}.png")
        whole = ("reference-labels", *([f"{target}-labels"] if truth else []))
        for name in (*whole, *([f"{target}-expected"] if compared else [])):
            _labels().save(place / f"{name}.png")
        _labels(cut).save(place / f"{target}-{point}.png")
    (folder / f"{point}.json").write_text(json.dumps({"targets": list(targets)}), encoding="utf-8")


def _labels(cut: int = 0) -> Image.Image:
    labels = np.zeros((20, 30), dtype=np.uint8)
    labels[5 : 10 - cut, 5:20] = 254
    return Image.fromarray(labels)


def size_of(picture: Path) -> tuple[int, int]:
    with Image.open(picture) as image:
        image.load()
        return image.size


def table_lines(text: str, title: str = "All points") -> list[str]:
    """Lines of the table of points below a title, without its header."""
    return _table(text, title)[2:]


def table_cells(text: str, title: str = "All points") -> list[dict[str, str]]:
    """Each row's cells by the names of their columns."""
    split = (re.split(r"(?<!\\)\|", line)[1:-1] for line in _table(text, title))
    header, _, *lines = ([unescaped(cell.strip()) for cell in cells] for cells in split)
    return [dict(zip(header, line, strict=True)) for line in lines]


def unescaped(text: str) -> str:
    """Plain text of a report.md as it is shown."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text)


def _table(text: str, title: str) -> list[str]:
    below = text.split(f"# {title}\n", maxsplit=1)[1].split("\n#", maxsplit=1)[0]
    return [line for line in below.splitlines() if line.startswith("|")]
