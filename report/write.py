"""report.md of a run: what was measured, in tables and plots."""

from __future__ import annotations

from pathlib import Path

from report.certificate import certificate_section
from report.masks import plot_masks
from report.overview import bands, overview
from report.plots import plot_speedup, plot_throughput
from report.run import Run, read_run
from report.series import series_section
from report.tables import points_section


def write_report(folder: Path) -> Path:
    """Write report.md and its plots into a run's folder; returns the report's path."""
    run = read_run(folder)
    parts = [f"# {run.folder.resolve().name}", overview(run)]
    if plot_throughput(run.summary, folder / "throughput.png"):
        parts.append("## Throughput\n\n![frames per second against batch](throughput.png)")
    if plot_speedup(run.summary, folder / "speedup.png", bands=bands(run)):
        parts.append(
            "## Speed-up\n\n![speed-up against batch](speedup.png)\n\n"
            "Bars are intervals, the shaded band counts as the same speed, and hollow points did not converge."
        )
    parts += [points_section(run), _failures(run)]
    if plot_masks(run, folder / "masks.png"):
        parts.append("## What the masks look like\n\n![reference, target, truth and predictions](masks.png)")
    parts += [series_section(run, folder / "series.png"), certificate_section(run), _environment(run), _commands(run)]
    path = folder / "report.md"
    path.write_text("\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")
    return path


def _failures(run: Run) -> str:
    summary = run.summary
    failed = summary[summary["reason"].notna() | (summary["status"] != "ok")]
    if failed.empty:
        return ""
    lines = []
    for _, row in failed.fillna({"reason": "no reason is known"}).iterrows():
        consequence = ", so it has no speed-up" if row["status"] == "wrong" else ""
        lines.append(f"- `{row['point']}` is **{row['status']}**{consequence}: {row['reason']}")
    return "## What did not work\n\n" + "\n".join(lines)


def _environment(run: Run) -> str:
    environment = run.environment
    if not environment:
        return ""
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items() if version)
    commit = environment["git_commit"] or "unknown"
    changed = " with uncommitted changes" if environment["git_changed"] else ""
    cpu = environment["cpu"]
    lines = [
        f"- device: {environment['device']}",
        f"- CPU: {cpu['name']}, {cpu['cores']} cores, {cpu['memory_gb']} GB, flags {' '.join(cpu['flags']) or 'none'}; "
        f"{environment['threads']} threads used",
        f"- Python {environment['python']}, {packages}",
        f"- code: {commit}{changed}",
    ]
    if environment["gpu"]:
        gpu = environment["gpu"]
        lines.insert(1, f"- GPU: {gpu['name']}, {gpu['memory_gb']} GB, driver {gpu['driver']}, CUDA {gpu['cuda']}")
    return "## Environment\n\n" + "\n".join(lines)


def _commands(run: Run) -> str:
    lines = [f"{row['command']}  # {row['point']}" for _, row in run.summary.iterrows()]
    return "## To measure a point again\n\n```sh\n" + "\n".join(lines) + "\n```"
