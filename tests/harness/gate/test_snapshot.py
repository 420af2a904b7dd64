"""Baselines: files to be committed and read in a diff, one for each device."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from harness.gate.snapshot import Snapshot, file_of, find, load, store
from harness.result import PointResult
from harness.row import Row
from harness.store.results import RunFolder
from strategies.errors import UserError
from tests.support.check_runs import environment, snapshot
from tests.support.harness_runs import ended, fill_the_disk, point, row

FASTER = {"reference": "sequential", "speedup": 4.3412345678, "speedup_lo": 4.2, "speedup_hi": 4.6}
KEPT = snapshot(
    direct=row(**FASTER, iou_mean=0.99912345678, iou_min=0.97, jf=0.9, peak_rss_mb=512.5, command="measure it"),
    broken=ended("broken", "crash", "it fell in /home/somebody", command="break it"),
)


def test_a_snapshot_is_readable_sorted_and_short(tmp_path: Path) -> None:
    store(KEPT, tmp_path / "baselines" / "a.json")
    stored = json.loads((tmp_path / "baselines" / "a.json").read_text(encoding="utf-8"))
    assert list(stored) == ["version", "made", "run", "environment", "points"]
    assert stored["environment"] == environment()
    assert list(stored["points"]) == ["broken", "direct"]
    assert stored["points"]["direct"] == {
        "status": "ok",
        "speedup": {"value": 4.34123, "lo": 4.2, "hi": 4.6, "over": "sequential"},
        **{"iou_mean": 0.999123, "iou_min": 0.97, "jf": 0.9, "peak_rss_mb": 512.5},
        "command": "measure it",
    }
    assert stored["points"]["broken"] == {"status": "crash", "command": "break it"}, (
        "no words that name a machine's files"
    )


def test_what_is_stored_is_loaded(tmp_path: Path) -> None:
    store(KEPT, tmp_path / "a.json")
    loaded = load(tmp_path / "a.json")
    store(loaded, tmp_path / "b.json")
    assert load(tmp_path / "b.json") == loaded
    assert loaded.points["direct"] == KEPT.points["direct"]
    assert loaded.device == "a processor"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]


def test_a_point_that_was_skipped_is_not_kept(tmp_path: Path) -> None:
    store(snapshot(direct=row(), other=ended("other", "skipped", "too large")), tmp_path / "a.json")
    assert list(load(tmp_path / "a.json").points) == ["direct"]


def test_a_snapshot_that_can_not_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(KEPT, tmp_path / "a.json")
    fill_the_disk(monkeypatch)
    with pytest.raises(UserError, match=r"a\.json can't be written"):
        store(snapshot(), tmp_path / "a.json")
    assert list(load(tmp_path / "a.json").points) == ["broken", "direct"]


def stored() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(KEPT.to_json())
    return stored


def test_the_stored_form_is_accepted() -> None:
    assert Snapshot.from_json(stored()).run == "a-run"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("version",), 2),
        (("made",), 5),
        (("environment", "packages"), []),
        (("environment", "packages"), {"torch": 2}),
        (("environment", "git_commit"), 3),
        (("environment", "device"), ["a processor"]),
        (("environment", "threads"), "one"),
        (("points", "direct"), 7),
        (("points",), []),
        (("environment",), {}),
        (("points", "direct", "status"), "splendid"),
        (("points", "direct", "command"), None),
        (("points", "direct", "speedup", "lo"), 5.0),
        (("points", "direct", "speedup", "lo"), 0),
        (("points", "direct", "speedup", "hi"), float("nan")),
        (("points", "direct", "speedup", "value"), 10**400),
        (("points", "direct", "jf"), float("inf")),
        (("points", "direct", "iou_mean"), -5),
        (("points", "direct", "iou_min"), 1.5),
        (("points", "direct", "peak_rss_mb"), 0),
        (("points", "direct", "peak_rss_mb"), 5e-324),
        (("points", "direct", "speedup"), {"value": 5e-324, "lo": 5e-324, "hi": 5e-324, "over": None}),
        (("points", "direct", "peak_rss_mb"), "many"),
    ],
)
def test_a_damaged_snapshot_is_refused_in_one_sentence(place: tuple[str, ...], value: object, tmp_path: Path) -> None:
    content = inner = stored()
    for name in place[:-1]:
        inner = inner[name]
    if value is None:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.json is no snapshot .*--update"):
        load(tmp_path / "a.json")


@pytest.mark.parametrize("text", ["", "[1]", "nonsense"])
def test_another_file_is_no_snapshot(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="is no snapshot"):
        load(tmp_path / "a.json")


def test_a_pipe_is_no_snapshot_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"is no snapshot \(it is no plain file"):
        load(tmp_path / "a.json")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--update writes one"):
        load(tmp_path / "a.json")


# --- of a run ------------------------------------------------------------------------------------------------------


def test_a_runs_folder_is_as_good_as_a_snapshot(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "20260102-run")
    run.write_json("environment.json", environment() | {"platform": "a system"})
    for made in (point(), point("sequential")):
        described = row(made.name, strategy=made.strategy, variant=made.variant, **FASTER)
        run.add(PointResult(row=Row(**described), config=made.options))
    taken = load(run.path)
    assert (taken.run, asdict(taken.environment)) == ("20260102-run", environment())
    assert [key.split()[0] for key in sorted(taken.points)] == ["direct", "sequential"]
    (direct,) = [key for key in taken.points if key.startswith("direct")]
    assert list(Snapshot.of_run(run.path, {direct}).points) == [direct]


def test_a_runs_point_with_numbers_that_can_not_be_is_named(tmp_path: Path) -> None:
    run, made = RunFolder(tmp_path / "run"), point()
    run.write_json("environment.json", environment())
    run.add(PointResult(row=Row(**row(made.name, iou_mean=-5.0)), config=made.options))
    with pytest.raises(UserError, match=rf"points/{made.name}\.json holds what can't be \(iou_mean: .*resume="):
        load(run.path)


@pytest.mark.parametrize("text", [None, "{", "[]", "{}"])
def test_a_folder_that_is_no_run(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "environment.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="not the folder of a run"):
        load(tmp_path)


# --- which one -----------------------------------------------------------------------------------------------------


def test_a_device_has_its_own_file(tmp_path: Path) -> None:
    assert file_of("Intel(R) Xeon(R) CPU @ 2.2GHz", tmp_path) == tmp_path / "intel-r-xeon-r-cpu-2-2ghz.json"
    for device in ("a processor", "a card"):
        store(snapshot(device=device), file_of(device, tmp_path))
    assert find("a card", tmp_path) == tmp_path / "a-card.json"


def test_a_device_without_one_takes_the_only_one_there_is(tmp_path: Path) -> None:
    store(KEPT, file_of("a processor", tmp_path))
    assert find("another processor", tmp_path) == tmp_path / "a-processor.json"


def test_several_others_settle_nothing(tmp_path: Path) -> None:
    for device in ("a processor", "a card"):
        store(snapshot(device=device), file_of(device, tmp_path))
    with pytest.raises(UserError, match=r"check\.snapshot= from .*a-card\.json, .*a-processor\.json"):
        find("another processor", tmp_path)


@pytest.mark.parametrize("there", [False, True])
def test_where_there_is_none_at_all_update_is_proposed(there: bool, tmp_path: Path) -> None:
    if there:
        (tmp_path / "baselines").mkdir()
    with pytest.raises(UserError, match="holds no snapshot: write one with --update"):
        find("a processor", tmp_path / "baselines")
