"""One of the processes that share a job, here in this one: it takes chunks, and reports batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.commands.one_point import composed
from harness.data.sources import open_groups
from harness.job.actor import Actor, Order, Report
from harness.options.config import HarnessConfig
from harness.pipeline.cores import Cores
from harness.pipeline.plan import Chunk, work_of
from strategies import Direct
from tests.support.harness_runs import fill_the_disk
from tests.support.jobs import draw, masks_in
from tests.support.pictures import halve

ORDINARY = {"data": "folder", "strategy": "direct", "batch": "2", "targets": "null"}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HarnessConfig:
    monkeypatch.chdir(tmp_path)
    (point,) = composed(["data.root=my_data"], command="label", defaults=ORDINARY)
    return point.config


def chunks_of(config: HarnessConfig, out: Path) -> list[Chunk]:
    plan = work_of(open_groups(config), None, out)
    return [piece for work in plan for piece in Chunk.of(work, batch=2, remembered=False).cut(1)]


def actor_of(config: HarnessConfig) -> Actor:
    return Actor(Order(config=config, cores=Cores(threads=1, workers=1), folder=Path.cwd()))


def reports(actor: Actor, *, targets: int) -> Iterator[Report]:
    """What an actor reports until it is through with so many targets."""
    while targets:
        report = actor.take()
        targets -= report.targets + sum(bool(target) for _, target, _ in report.broken)
        yield report


def test_an_actor_builds_one_bank_for_the_chunks_of_a_group_and_makes_the_masks_of_the_job(
    finished: Path, config: HarnessConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    banks: list[object] = []
    real = Direct.prepare
    monkeypatch.setattr(Direct, "prepare", lambda self, references: (banks.append(references), real(self, references)))
    actor = actor_of(config)
    assert actor.take() == Report(), "it is ready"
    chunks = chunks_of(config, Path("shared"))
    found = []
    for chunk in chunks:  # One at a time, so that it has nothing in hand before the next.
        actor.give(chunk)
        found += list(reports(actor, targets=len(chunk.wanted)))
    assert len(chunks) == 6
    assert len(banks) == 2
    assert masks_in(Path("shared")) == masks_in(finished)
    assert sum(report.targets for report in found) == 10
    assert sum(report.busy.get("predict", 0) for report in found) > 0


def test_what_is_left_out_is_reported(tmp_path: Path, config: HarnessConfig) -> None:
    data = draw(tmp_path / "my_data", groups=2, targets=2)
    halve(data / "specimen000" / "targets" / "1.jpg")
    chunks = chunks_of(config, Path("shared"))
    halve(data / "specimen001" / "refs" / "0.jpg")
    actor = actor_of(config)
    actor.take()
    for chunk in chunks:
        actor.give(chunk)
    found = [actor.take(), actor.take()]
    assert {(row.group, row.target) for report in found for row in report.rows} == {("specimen000", "0")}
    assert [broken[:2] for report in found for broken in report.broken] == [("specimen000", "1"), ("specimen001", "")]


def test_what_stops_an_actor_is_its_last_report(
    tmp_path: Path, config: HarnessConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "my_data", targets=2)
    fill_the_disk(monkeypatch)
    actor = actor_of(config)
    actor.take()
    actor.give(chunks_of(config, Path("shared"))[0])
    failure = actor.take().failure
    assert failure is not None
    assert failure.status == "skipped"
    assert "No space left on device" in failure.reason
