"""The table of faults for ``scenario=stream``, as far as it needs no process of its own.

What ends a worker from without, or keeps it, is no business of the scenario's, and is in `test_faults.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.faults import statuses, stored
from tests.support.harness_runs import TINY, only_run, run_here, summary

FAULTY = '''
from pathlib import Path

from strategies.streams.batched import StreamBatched


class Faulty(StreamBatched):
    """Shows its fault amid a video until the file ``mended`` is there."""

    def _step(self, frames, labels):
        if max(frame.number for frame in frames.values()) == 3 and not Path("mended").exists():
            self.fault()
        return super()._step(frames, labels)


class Raising(Faulty):
    def fault(self):
        raise ZeroDivisionError("the third bolt is loose")


class Hoarding(Faulty):
    def fault(self):
        raise MemoryError("no room for a fourth frame")
'''
ASKED = {"raising": "Raising", "hoarding": "Hoarding"}


@pytest.mark.slow
def test_a_stream_that_ends_amid_a_video_has_its_status_others_go_on_and_resume_completes_the_grid(
    tmp_path: Path,
) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    (tmp_path / "conf" / "strategy").mkdir(parents=True)
    for name, made in ASKED.items():
        (tmp_path / "conf" / "strategy" / f"{name}.yaml").write_text(f"_target_: faulty.{made}\nvideos: ${{videos}}\n")
    video = (
        "data=drifting",
        "data.groups=1",
        "data.frames=6",
        "data.parts=1",
        "data.late=0",
        "videos=1",
        "targets=null",
    )
    quick = ("timing.block_seconds=0", "paired=false", "compare=false", "objects=1")
    words = [word for word in TINY if word.partition("=")[0] not in {one.partition("=")[0] for one in (*video, *quick)}]
    asked = (f"hydra.searchpath=[file://{tmp_path / 'conf'}]", "scenario=stream", *words, *video, *quick)
    strategies = f"strategy={','.join([*ASKED, 'stream_batched'])}"

    assert run_here(tmp_path, *asked, strategies).returncode == 1
    run = only_run(tmp_path / "results")
    rows = {row["strategy"]: row for row in summary(run)}
    assert (rows["raising"]["status"], rows["raising"]["reason"]) == (
        "crash",
        "ZeroDivisionError: the third bolt is loose",
    )
    assert (rows["hoarding"]["status"], rows["hoarding"]["reason"]) == (
        "oom",
        "MemoryError: no room for a fourth frame",
    )
    assert (rows["stream_batched"]["status"], rows["raising"]["scenario"]) == ("ok", "stream")
    assert not any(rows[name][column] for name in ASKED for column in ("fps", "jf", "pair_mb"))

    before = stored(run)
    (tmp_path / "mended").touch()
    assert run_here(tmp_path, *asked, strategies, "resume=true").returncode == 0
    assert set(statuses(run).values()) == {"ok"}
    assert [name for name, content in stored(run).items() if content == before[name]] == ["stream_batched"]
