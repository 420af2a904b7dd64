"""A job in parts: ``shard=3/16``."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.group import Frame, Group
from harness.job.shards import part_of
from harness.options.shards import FOLDER, Shard
from harness.pipeline import pipeline
from harness.pipeline.plan import work_of
from harness.store.lock import locked
from strategies.errors import UserError
from tests.support.commands import start
from tests.support.harness_runs import complaint
from tests.support.jobs import draw, error_of, interrupted_after, label, masks_in
from tests.support.pictures import halve

WRITTEN = ("labels.csv", "review.html", "job.json")


def in_parts(folder: Path, *parts: str, out: str = "parts", code: int = 0) -> None:
    for part in parts:
        ended = label(folder, f"out={out}", f"shard={part}", "label.review=4")
        assert ended.returncode == code, ended.stderr


def contents(out: Path) -> dict[str, bytes]:
    return masks_in(out) | {name: (out / name).read_bytes() for name in WRITTEN}


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    batch=st.integers(1, 9),
    of=st.integers(1, 20),
    whole_groups=st.booleans(),
)
def test_parts_have_the_batches_of_the_undivided_job_and_each_once(
    sizes: list[int], batch: int, of: int, whole_groups: bool
) -> None:
    make = partial(Frame, image=lambda: np.zeros((8, 8, 3), dtype=np.uint8))
    groups = [
        Group(
            name=f"{at}",
            object_ids=(1,),
            references=(make(name="r"),),
            targets=tuple(make(name=f"{number}") for number in range(size)),
        )
        for at, size in enumerate(sizes)
    ]
    plan = work_of(groups, None, Path("out"))
    parts = [part_of(shard, plan, batch=batch, whole_groups=whole_groups) for shard in Shard(number=1, of=of).every()]
    found = [
        (work.group.name, [target.name for target in targets])
        for part in parts
        for work in part
        for targets in work.batches(batch)
    ]
    assert found == [
        (work.group.name, [target.name for target in targets]) for work in plan for targets in work.batches(batch)
    ]
    if whole_groups:
        assert sorted(len(work.group.targets) for part in parts for work in part) == sorted(sizes)
    else:
        loads = [sum(len(list(work.batches(batch))) for work in part) for part in parts]
        assert max(loads) - min(loads) <= 1


@pytest.mark.slow
def test_all_parts_together_leave_what_the_undivided_job_leaves(tmp_path: Path, finished: Path) -> None:
    in_parts(tmp_path, "3/3", "1/3")
    assert not (tmp_path / "parts" / "labels.csv").exists()
    in_parts(tmp_path, "2/3")
    assert contents(tmp_path / "parts") == contents(finished)
    assert [path.name for path in (tmp_path / "parts").rglob(".*")] == []
    before = contents(tmp_path / "parts")
    in_parts(tmp_path, "1/3")  # Nothing is left to do.
    assert "10 of 10 masks are there already" in label(tmp_path, "out=parts", "label.review=4").stderr
    assert contents(tmp_path / "parts") == before


@pytest.mark.slow
def test_a_part_that_was_cut_off_is_gone_on_with(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts(tmp_path, "1/2")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "finish", interrupted_after(3))
        in_parts(tmp_path, "2/2", code=130)
    in_parts(tmp_path, "2/2")
    assert contents(tmp_path / "parts") == contents(finished)


@pytest.mark.slow
def test_a_run_in_one_part_goes_on_with_what_parts_have_done(tmp_path: Path, finished: Path) -> None:
    in_parts(tmp_path, "2/3")
    assert "3 of 10 masks are there already" in label(tmp_path, "out=parts", "label.review=4").stderr
    assert contents(tmp_path / "parts") == contents(finished)
    assert not (tmp_path / "parts" / FOLDER).exists()


@pytest.mark.slow
def test_what_parts_left_out_is_in_one_table(tmp_path: Path) -> None:
    data = draw(tmp_path / "my_data", groups=3, targets=2)
    for group, target in (("specimen000", 0), ("specimen002", 1)):
        halve(data / group / "targets" / f"{target}.jpg")
    in_parts(tmp_path, "1/3", code=1)
    in_parts(tmp_path, "2/3")
    in_parts(tmp_path, "3/3", code=1)
    table = (tmp_path / "parts" / "broken.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[:2] for line in table[1:]] == [["specimen000", "0"], ["specimen002", "1"]]


@pytest.mark.slow
def test_a_target_that_no_part_had_is_told(tmp_path: Path) -> None:
    targets = draw(tmp_path / "my_data", targets=5) / "specimen000" / "targets"
    assert label(tmp_path, "shard=2/2").returncode == 0
    for name in ("00.jpg", "000.jpg", "0000.jpg", "00000.jpg"):  # The other part sees longer halves.
        shutil.copy(targets / "0.jpg", targets / name)
    ended = label(tmp_path, "shard=1/2")
    assert ended.returncode == 1
    there = {Path(name).stem for name in masks_in(tmp_path / "my_data-masks")}
    broken = (tmp_path / "my_data-masks" / "broken.csv").read_text(encoding="utf-8")
    lost = {path.stem for path in targets.iterdir()} - there
    assert lost
    assert [name for name in lost if f'specimen000,{name},"no part had it' not in broken] == []
    assert label(tmp_path).returncode == 0
    assert not (tmp_path / "my_data-masks" / "broken.csv").exists()


def test_parts_run_beside_each_other_and_not_beside_an_undivided_run(tmp_path: Path) -> None:
    draw(tmp_path / "my_data", groups=3, targets=2)
    out = tmp_path / "parts"
    in_parts(tmp_path, "1/3")
    with locked(out, shared=True):  # as another part holds it
        in_parts(tmp_path, "2/3")
        assert "is being labelled" in complaint(label(tmp_path, "out=parts").stderr)
    with locked(out):
        assert "is being labelled" in complaint(label(tmp_path, "out=parts", "shard=3/3").stderr)
    with locked(Shard(number=3, of=3).folder(out)):
        said = complaint(label(tmp_path, "out=parts", "shard=3/3").stderr)
        assert "is being labelled" in said
        assert "shard=" in said
    in_parts(tmp_path, "3/3")
    assert len(masks_in(out)) == 6


@pytest.mark.slow
def test_parts_of_another_number_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "my_data")
    in_parts(tmp_path, "1/3")
    assert "was begun in 3 parts" in complaint(label(tmp_path, "out=parts", "shard=1/2").stderr)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/x", "-1/3", "1/0"])
def test_what_is_no_part_is_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match=f"shard={text} is not valid"):
        Shard.parsed(text)


def test_a_job_in_what_is_no_part_writes_nothing(tmp_path: Path) -> None:
    draw(tmp_path / "my_data", targets=1)
    assert "shard=4/3 is not valid" in error_of(tmp_path, "shard=4/3")
    assert not (tmp_path / "my_data-masks").exists()


@pytest.mark.slow
@pytest.mark.processes
def test_parts_may_run_at_the_same_time(tmp_path: Path, finished: Path) -> None:
    words = ("data=folder", "data.root=my_data", "out=parts", "batch=2", "label.review=4", "label.threads=1")
    words = (*words, "strategy=direct")
    running = [start(tmp_path, *words, f"shard={number}/2", module="harness.label") for number in (1, 2)]
    for process in running:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    assert contents(tmp_path / "parts") == contents(finished)
