"""The notebook goes from pictures to a plot: its cells run one after another, as a kernel would run them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from harness.api import run
from harness.isolate.isolation import Outcome, run_inline
from harness.isolate.jobs import Job
from tests.support.paths import ROOT

NOTEBOOK = json.loads((ROOT / "results" / "notebook" / "pictures_to_plot.ipynb").read_text(encoding="utf-8"))
BRIEFLY: dict[str, Any] = {
    "timing": {"min_seconds": 0, "max_seconds": 0, "min_rounds": 1, "warmup_seconds": 0, "block_seconds": 0},
    **{"batch": [1, 2], "targets": 2, "objects": 1, "refs": 1, "pictures": 0},
}
"""Options with which its sweep takes seconds."""
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def in_this_process(job: Job, *, on_stage: Callable[[str], None], **_: Any) -> Outcome:
    """Do what a worker would do, which would import torch for seconds."""
    return run_inline(job, on_stage=on_stage)


@pytest.mark.slow
def test_its_cells_lead_from_pictures_to_a_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.sweep.run_apart", in_this_process)
    monkeypatch.setattr("harness.api.run", lambda *words, **options: run(*words, **options | BRIEFLY))
    names: dict[str, Any] = {}
    for number, cell in enumerate(CODE):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    table, axes = names["table"], names["axes"]
    assert list(table["status"]) == ["ok"] * 4
    assert set(table["masks"]) == {"same"}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["direct", "extended_session"]
    assert (tmp_path / "results" / "latest" / "report.html").is_file()
    plt.close("all")


def test_it_has_ten_cells_which_were_run_in_order() -> None:
    assert len(NOTEBOOK["cells"]) == 10
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    kinds = {kind for cell in CODE for output in cell["outputs"] for kind in output.get("data", {})}
    assert {"image/png", "text/html"} <= kinds, "the plot and the table are kept as they were printed"
    assert not any(output["output_type"] == "error" for cell in CODE for output in cell["outputs"])
