"""Labels that are odd but make no point wrong: the sweep goes on, and the command warns of each oddity once."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.cli import measure
from harness.data.group import Group
from harness.measure.odd_labels import OddLabels
from harness.options.compose import compose
from strategies import References, VisionFeatures
from tests.support.harness_runs import encode_here, only_run, run_here, strict_json, summary
from tests.support.pictures import write_picture
from tests.support.report_runs import text_of

pytestmark = pytest.mark.slow

SIZE = (300, 400)
FAST = (
    *("batch=1", "pictures=0", "refs=2", "targets=3", "paired=false", "compare=false"),
    *("timing.min_seconds=0", "timing.min_rounds=1", "timing.max_seconds=0", "timing.warmup_seconds=0"),
    "reporter=null",
)
INLINE = (*FAST, "isolation=inline")
WING = {"a": (1, 2), "b": (1,), "s": (1, 2), "t": (1, 2), "u": (2,)}
"""The ids that each picture shows: two references and three targets."""

Shown = Mapping[str, tuple[int, ...]]


def write_labels(path: Path, ids: tuple[int, ...], *, speck: int | None) -> None:
    """A square of each id at a place of its own; of ``speck``, a single pixel."""
    labels = np.zeros(SIZE, dtype=np.uint8)
    for identity in ids:
        top, left = 60 * (identity % 4), 70 * (identity % 5)
        side = 1 if identity == speck else 50
        labels[top : top + side, left : left + side] = identity
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)


def write_data(root: Path, *, data: str, shown: Shown = WING, speck: int | None = None) -> list[str]:
    """Write the group, or the clip, called wing; returns the words that choose it."""
    for name, ids in shown.items():
        if data == "folder":
            is_reference = name in ("a", "b")
            picture = root / "wing" / ("refs" if is_reference else "targets") / f"{name}.jpg"
            mask = root / "wing" / ("refs" if is_reference else "truth") / f"{name}.png"
        else:
            picture = root / "JPEGImages" / "480p" / "wing" / f"{name}.jpg"
            mask = root / "Annotations" / "480p" / "wing" / f"{name}.png"
        write_picture(picture, size=SIZE)
        write_labels(mask, ids, speck=speck)
    return [f"data={data}", f"data.root={root}"]


def warnings_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("warning: ")]


def scores_of(folder: Path) -> list[tuple[str, str, str]]:
    return [(row["j"], row["f"], row["jf"]) for row in summary(only_run(folder / "results"))]


# --- commands ------------------------------------------------------------------------------------------------------


STRANGE = {**WING, "s": (1, 2, 77), "u": (2, 8, 255)}
"""The same, where two targets show ids of which no reference knows."""

Odd = Callable[[str], tuple[Path, subprocess.CompletedProcess[str]]]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Odd:
    """Two points of strange data, measured once for each source: the folder, and how the command ended."""

    @cache
    def of(data: str) -> tuple[Path, subprocess.CompletedProcess[str]]:
        folder = tmp_path_factory.mktemp(data)
        words = write_data(folder, data=data, shown=STRANGE)
        return folder, run_here(folder, *words, *INLINE, "strategy=direct,sequential")

    return of


@pytest.mark.parametrize("data", ["folder", "davis"])
def test_ids_that_no_reference_shows_are_background_and_the_command_of_two_points_warns_once(
    tmp_path: Path, measured: Odd, data: str
) -> None:
    odd, done = measured(data)
    (warning,) = warnings_of(done)
    assert "8, 77 in group wing" in warning
    assert "background" in warning
    assert "255" not in warning, "that is void"

    right = write_data(tmp_path, data=data, shown={**STRANGE, "s": (1, 2), "u": (2, 255)})
    assert warnings_of(run_here(tmp_path, *right, *INLINE, "strategy=direct")) == []
    assert len(set(scores_of(odd))) == 1
    assert scores_of(odd)[:1] == scores_of(tmp_path)


def test_an_object_of_which_the_model_sees_no_pixel_is_warned_of_unless_one_reference_shows_it(tmp_path: Path) -> None:
    words = write_data(tmp_path, data="folder", speck=2)
    shutil.copytree(tmp_path / "wing", tmp_path / "leg")
    write_labels(tmp_path / "leg" / "refs" / "b.png", (1, 2), speck=None)
    (warning,) = warnings_of(run_here(tmp_path, *words, *INLINE, "strategy=direct"))
    assert "2 in group wing" in warning
    assert "leg" not in warning
    assert "128 x 128" in warning


def test_objects_that_are_not_asked_for_are_of_no_concern(tmp_path: Path) -> None:
    words = write_data(tmp_path, data="folder", speck=2)
    assert warnings_of(run_here(tmp_path, *words, *INLINE, "strategy=direct", "objects=1")) == []


def test_drawn_specimens_have_nothing_odd(tmp_path: Path) -> None:
    assert warnings_of(run_here(tmp_path, *INLINE, "strategy=direct", "data.groups=1")) == []


def test_the_report_tells_it_too(measured: Odd) -> None:
    folder, _ = measured("folder")
    report = text_of(only_run(folder / "results"))
    _, _, trust = report.partition("## How far to trust it")
    assert trust.count("77 in group wing") == 1


def test_a_command_that_measures_twice_warns_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the regression gate does, when something is unclear."""
    words = write_data(tmp_path, data="folder", shown={**WING, "s": (77,)})
    points = compose(["strategy=direct", *words, *INLINE, f"results={tmp_path / 'results'}"])
    warned: set[str] = set()
    for times in (1, 0):
        measure(points, warned=warned)
        assert capsys.readouterr().err.count("warning: ") == times


@pytest.mark.processes
def test_a_worker_hands_its_warnings_to_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode_here(monkeypatch)
    words = write_data(tmp_path, data="folder", shown={**WING, "s": (77,)})
    done = run_here(tmp_path, *words, *FAST, "strategy=direct")
    (warning,) = warnings_of(done)
    (point,) = (only_run(tmp_path / "results") / "points").iterdir()
    assert strict_json(point)["details"]["warnings"] == [warning.removeprefix("warning: ")]


# --- sentences -----------------------------------------------------------------------------------------------------


def group(name: str, *ids: int) -> Group:
    return Group(name=name, object_ids=ids, references=(), targets=())


def test_groups_are_named_with_their_ids_and_very_many_are_counted() -> None:
    odd = OddLabels()
    for number in range(23):
        odd.look_at_truth(group(f"g{number}", 1, 2), np.array([[0, 1, 9, 255]], dtype=np.uint8))
    odd.look_at_truth(group("g0", 1, 2), np.array([[7, 2]], dtype=np.uint8))
    odd.look_at_truth(group("right", 1, 2), np.array([[1, 2]], dtype=np.uint8))
    (sentence,) = odd.warnings()
    assert "7, 9 in group g0; 9 in group g1; " in sentence
    assert "right" not in sentence
    assert "9 in group g19; and more in 3 other groups" in sentence
    assert ". " not in sentence


def test_objects_are_lost_where_no_reference_keeps_a_pixel() -> None:
    masks = torch.zeros(2, 3, 8, 8, dtype=torch.bool)
    masks[0, 0, 0, 0] = masks[1, 2, 7, 7] = True
    empty = torch.zeros(2, 1)
    features = VisionFeatures(embedding=empty, stride4=empty, stride8=empty)
    odd = OddLabels()
    odd.look_at_references(group("wing", 4, 5, 6), References(features=features, masks=masks, object_ids=(4, 5, 6)))
    (sentence,) = odd.warnings()
    assert "8 x 8" in sentence
    assert ": 5 in group wing;" in sentence
