"""Everything a user can get wrong: one sentence that names the file or the option, exit code 2, nothing left behind."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.options.compose import compose
from tests.support.harness_runs import TINY, complaint, exit_code, only_run, run, runs, summary
from tests.support.pictures import halve, write_mask, write_picture
from tests.support.report_runs import text_of

FAST = (
    "strategy=direct",
    "batch=1",
    "timing.min_seconds=0",
    "timing.min_rounds=1",
    "timing.max_seconds=0",
    "timing.warmup_seconds=0",
    "pictures=1",
    "isolation=inline",
    "reporter=null",
)
IDS = (1, 2)


def write_group(root: Path) -> None:
    """Two references with two objects, three targets, truth of the first."""
    for name in ("a", "b"):
        write_picture(root / "refs" / f"{name}.jpg")
        write_mask(root / "refs" / f"{name}.png", *IDS)
    for name in ("s", "t", "u"):
        write_picture(root / "targets" / f"{name}.jpg")
    write_mask(root / "truth" / "s.png", *IDS)


def write_clip(root: Path, clip: str) -> None:
    for number in range(4):
        write_picture(root / "JPEGImages" / "480p" / clip / f"{number:05d}.jpg")
        write_mask(root / "Annotations" / "480p" / clip / f"{number:05d}.png", *IDS)


@dataclass(frozen=True, kw_only=True)
class Refusals:
    """Commands given in an empty folder, which all must be refused before anything is measured."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def sentence(self, *arguments: str) -> str:
        code = exit_code(*arguments)
        out, err = self.capsys.readouterr()
        assert code == 2, out + err
        assert out == ""
        assert runs(self.folder / "results") == [], "no folder stays behind"
        return complaint(err)


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusals:
    monkeypatch.chdir(tmp_path)
    return Refusals(folder=tmp_path, capsys=capsys)


# --- options -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["batch=0"], ["batch=0", "1 or more"]),
        (["batch=1,0"], ["batch=0", "1 or more"]),
        (["batch=abc"], ["batch=abc is not valid: give a whole number"]),
        (["batch=[two]"], ['batch=["two"] is not valid: give a whole number']),
        (["minutes=soon"], ["minutes=soon is not valid: give a number or null"]),
        (["data.groups=abc"], ["data.groups=abc is not valid: give a whole number"]),
        (["label.format=png"], ["label.format=png is not valid: give a list, as [png]"]),
        (["certify.slowdowns=[much]"], ["certify.slowdowns[0]=much is not valid: give a number"]),
        (["batch=1.5"], ["batch=1.5"]),
        (["batch"], ["batch"]),
        (["--multrun"], ["--multrun", "KEY=VALUE", "--help"]),
        (["objects=0"], ["objects=0"]),
        (["+timming.width=1"], ["+timming.width=1", "nothing reads", "did you mean timing?"]),
        (["+timing.widht=1"], ["widht"]),
        ([f"name={'x' * 250}"], ["name=", "at most 200 bytes"]),
        (["monitor_interval=inf"], ["monitor_interval=inf", "too large"]),
        ([f"project_to={'9' * 400}"], ["project_to=", "too large"]),
        ([f"batch={'9' * 40}"], ["batch=", "too large"]),
        ([f"seed={'9' * 400}"], ["seed=", "too large"]),
        (["strategy._target_=nope.X"], ["nope.X", "No module named 'nope'"]),
        (["targets=1000000000"], ["targets=", "1,000,000"]),
        (["objects=9999"], ["objects=9999", "254"]),
        (["refs=null"], ["refs=null", "give a number"]),
        (["data.absent=1"], ["data.absent=1"]),
        (["timing.min_seconds=30"], ["timing.max_seconds=20", "timing.min_seconds=30"]),
        (["dtype=fp8"], ["dtype=fp8", "fp32, tf32, bf16, fp16"]),
        (["device=gpu"], ["device=gpu", "cuda:N"]),
        (["bank=shred"], ["bank=shred", "shared, expand, repeat"]),
        (["compare=perhaps"], ["compare=perhaps is not valid: give true or false"]),
        (["name=a/b"], ["name=a/b"]),
        (["timeout=0"], ["timeout=0", "null"]),
        (["isolation=vm"], ["isolation=vm", "fork, spawn, inline"]),
        (["resume=results/none"], ["resume=results/none", "folder of a run"]),
        (["timing.min_rounds=0"], ["timing.min_rounds=0"]),
        (["timing.width=nan"], ["timing.width=nan"]),
        (["strategy@reference=sequental"], ["sequental", "did you mean sequential"]),
        (["data=folder"], ["data.root", "missing"]),
        (["data=3"], ["data=3 is not known", "davis, drifting, folder, synthetic"]),
        (["data=[davs]"], ["data=[davs] is not known", "davis, drifting, folder, synthetic"]),
        (["model=toy,null"], ["model=null is not known", "toy"]),
        (["~strategy"], ["strategy=direct"]),
        (["baseline=null"], ["baseline=null is not valid", "strategy@baseline=NAME on the command line chooses one"]),
        (["baseline=[]"], ["baseline=[] is not valid: give a mapping"]),
        (["strategy@baseline=sequental"], ["strategy@baseline=sequental is not known; did you mean sequential?"]),
        (["strategy@other=direct"], ["strategy@other= is not an option; did you mean strategy, strategy@baseline?"]),
        (["+timing.widht=1"], ["timing.widht= is not an option; did you mean timing.width?"]),
        (["+data.grops=5"], ["data.grops= is not an option; did you mean data.groups?"]),
        (["+data.root=my_data"], ["data.root= is not an option; with data=davis or data=folder it is one"]),
        (["++model.weight=x"], ["model.weight= is not an option; did you mean model.weights?"]),
        (["+timing=3"], ["+timing=3 adds an option that is there already: give timing=3"]),
        (["~model"], ["model= is missing"]),
        (["~experiment"], ["no experiment= is chosen that ~experiment would take out"]),
        (["sweeps=null"], ["sweeps=null is not valid: give a list"]),
        (["~timing=3"], ["~timing=", "give ~timing"]),
        (["seed=${sead}"], ["seed= can't be resolved", "'sead' not found"]),
        (["baseline=rebuild"], ["baseline=rebuild is not valid", "strategy@baseline=NAME", "baseline.OPTION"]),
        (["encode=fast"], ["encode=fast is not valid", "encode.batch=VALUE"]),
        (["timing=null"], ["timing=null is not valid", "timing.processes=VALUE"]),
        (["timing=[3]"], ["timing=[3] is not valid", "timing.processes=VALUE"]),
        (["check.margins=3"], ["check.margins=3 is not valid", "check.margins.speedup=VALUE"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_value_that_an_option_can_not_have_is_refused(
    refused: Refusals, arguments: list[str], named: list[str]
) -> None:
    sentence = refused.sentence("strategy=direct", *arguments)
    for word in named:
        assert word in sentence


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("strategy=dirct", ["strategy=dirct", "did you mean direct?", "rebuild, sequential"]),
        ("model=sam2.1_hiera_tny", ["model=sam2.1_hiera_tny", "did you mean sam2.1_hiera_tiny?", "toy"]),
        ("data=davs", ["data=davs", "did you mean davis?", "folder", "synthetic"]),
        ("bach=2", ["bach=", "did you mean batch?"]),
        ("kv=int8", ["kv=", "did you mean strategy.kv?"]),
        ("data.part=2", ["data.part=", "did you mean data.parts?"]),
        ("data.root=mine", ["data.root=", "with data=davis or data=folder it is one", "valid: data.absent"]),
        ("data.clips=[dog]", ["data.clips=", "with data=davis it is one"]),
        ("data.root.x=1", ["data.root= is not", "with data=davis or data=folder it is one", "valid: data.absent"]),
        ("data.piking=even", ["data.piking=", "did you mean data.picking with data=davis?", "valid: data.absent"]),
        ("check.margin.speedup=1", ["check.margin= is not", "did you mean check.margins?", "valid: check.against"]),
        ("timing.groups.a=1", ["timing.groups.a=", "timing.groups= has none within"]),
        ("quite_something_else=2", ["quite_something_else=", "valid: bank, baseline, batch"]),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_one_and_all_valid_ones(
    refused: Refusals, argument: str, named: list[str]
) -> None:
    sentence = refused.sentence(argument)
    for word in named:
        assert word in sentence


def test_a_refused_flag_is_named_without_what_nobody_typed(refused: Refusals) -> None:
    assert "sweep.dir" not in refused.sentence("--updat", "strategy=direct")


@pytest.mark.slow
@pytest.mark.parametrize("words", [["strategy=glob(zzz*)"], ["batch=range(3,1)"], ["strategy=direct", "batch=glob(*)"]])
def test_a_sweep_of_nothing_is_refused(refused: Refusals, words: list[str]) -> None:
    assert "sweep nothing" in refused.sentence(*words)


@pytest.mark.slow
@pytest.mark.parametrize("value", ["3", "[3]", "[[a]]", "strategy=direct"])
def test_several_sweeps_in_one_are_a_list_of_texts(refused: Refusals, value: str) -> None:
    assert "give a list of texts" in refused.sentence(f"sweeps={value!r}" if "=" in value else f"sweeps={value}")


@pytest.mark.slow
@pytest.mark.parametrize("words", [["batch=2", "--cfg", "job"], ["--cfg", "job", "batch=2"]])
def test_flags_may_stand_anywhere(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(*words) == 0
    assert "batch: 2" in capsys.readouterr().out


@pytest.mark.slow
def test_an_unknown_name_is_refused_wherever_it_stands_in_a_sweep(refused: Refusals) -> None:
    assert "strategy=foo" in refused.sentence("strategy=direct,foo")
    assert "model=toi" in refused.sentence("strategy=direct", "model=toy,toi")


# --- files ---------------------------------------------------------------------------------------------------------


def no_object(root: Path) -> None:
    write_mask(root / "refs" / "b.png")


def other_size(root: Path) -> None:
    write_mask(root / "refs" / "b.png", *IDS, size=(12, 20))


def truncated_mask(root: Path) -> None:
    halve(root / "refs" / "a.png")


def no_pictures(root: Path) -> None:
    for path in (root / "targets").iterdir():
        path.unlink()


def no_mask(root: Path) -> None:
    (root / "refs" / "a.png").unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (no_object, ["refs/b.png", "no object"]),
        (other_size, ["refs/b.png", "20x12", "40x24"]),
        (truncated_mask, ["refs/a.png"]),
        (no_pictures, ["targets", "no pictures"]),
        (no_mask, ["refs/a.jpg", "no mask"]),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    refused: Refusals, damage: Callable[[Path], None], named: Sequence[str]
) -> None:
    root = refused.folder / "mine"
    write_group(root)
    damage(root)
    sentence = refused.sentence(*FAST, "data=folder", f"data.root={root}")
    for word in named:
        assert word in sentence


@pytest.mark.slow
@pytest.mark.parametrize("data", ["folder", "davis"])
def test_a_folder_that_is_not_there_or_empty_is_named(refused: Refusals, data: str) -> None:
    (refused.folder / "empty").mkdir()
    for root in ("nowhere", "empty"):
        assert f"data.root={root}" in refused.sentence(*FAST, f"data={data}", f"data.root={root}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jürgen", "木 und Größe", "é,ü"])
def test_a_folder_with_letters_beyond_ascii_needs_no_quotes(refused: Refusals, name: str) -> None:
    for one in name.split(","):
        write_group(refused.folder / one)
        (refused.folder / one / "refs" / "b.png").unlink()
    sentence = refused.sentence(*FAST, "data=folder", f"data.root={name}")
    assert f"{name.split(',')[0]}/refs/b.jpg" in sentence


def test_a_temporary_folder_that_can_not_be_made_is_one_sentence(
    refused: Refusals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(refused.folder / "nowhere"))
    assert "point TMPDIR to a disk with room" in refused.sentence("strategy=direct")


def test_options_are_composed_without_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert len(compose(["strategy=direct", "batch=1"])) > 0
    assert list(tmp_path.iterdir()) == []


def test_a_clip_that_is_not_there_is_answered_with_the_nearest_one(refused: Refusals) -> None:
    write_clip(refused.folder / "clips", "bear")
    sentence = refused.sentence(*FAST, "data=davis", "data.root=clips", "data.clips=[bera]")
    assert "data.clips=bera" in sentence
    assert "did you mean bear" in sentence


def test_more_objects_than_there_are_stop_the_sweep_before_anything_is_measured(refused: Refusals) -> None:
    write_group(refused.folder / "mine")
    sentence = refused.sentence(*FAST, "data=folder", "data.root=mine", "objects=1,9")
    for word in ("objects=9", "mine", "2 (ids 1, 2)"):
        assert word in sentence


def test_more_references_than_there_are(refused: Refusals) -> None:
    write_group(refused.folder / "mine")
    assert "refs=3" in refused.sentence(*FAST, "data=folder", "data.root=mine", "refs=3")


@pytest.mark.slow
def test_after_a_refused_command_the_right_one_runs(refused: Refusals) -> None:
    write_group(refused.folder / "mine")
    refused.sentence(*FAST, "data=folder", "data.root=mine", "refs=3")
    assert exit_code(*FAST, "data=folder", "data.root=mine") == 0
    assert summary(only_run(refused.folder / "results"))[0]["status"] == "ok"


# --- what shows itself only while measuring ------------------------------------------------------------------------


@pytest.mark.slow
def test_weights_that_are_not_there_leave_points_that_say_so(refused: Refusals) -> None:
    code = exit_code(*FAST, *TINY, "model.weights=nowhere")
    last = refused.capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert last.startswith("error: model.weights=nowhere ")
    for run_folder in runs(refused.folder / "results"):
        assert {row["status"] for row in summary(run_folder)} == {"skipped"}


def test_a_reference_that_can_not_be_read_is_named(refused: Refusals) -> None:
    write_group(refused.folder / "mine")
    halve(refused.folder / "mine" / "refs" / "a.jpg")
    code = exit_code(*FAST, "data=folder", "data.root=mine")
    last = refused.capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert last.startswith("error: ")
    assert "refs/a.jpg" in last


@pytest.mark.slow
def test_a_target_that_can_not_be_read_is_found_late_and_other_points_stay(refused: Refusals) -> None:
    write_group(refused.folder / "good")
    write_group(refused.folder / "bad")
    halve(refused.folder / "bad" / "targets" / "t.jpg")
    # One picture a batch: features are already on disk when the broken one comes.
    code = exit_code(*FAST, "data=folder", "data.root=good,bad", "batch=1,2", "encode.batch=1")
    err = refused.capsys.readouterr().err
    assert code == 2
    assert "Traceback" not in err
    sentence = err.splitlines()[-1]
    assert sentence.startswith("error: ")
    assert "bad/targets/t.jpg" in sentence

    folder = only_run(refused.folder / "results")
    rows = summary(folder)
    ended = [(row["status"], row["batch"]) for row in rows]
    assert ended == [("ok", "1"), ("ok", "2"), ("skipped", "1"), ("skipped", "2")]
    assert {row["reason"] for row in rows[2:]} == {sentence.removeprefix("error: ")}
    assert sorted(path.stem for path in (folder / "points").iterdir()) == sorted(row["point"] for row in rows)
    assert rows[2]["reason"] in text_of(folder)


@pytest.mark.slow
def test_points_after_one_that_can_not_be_read_are_measured(refused: Refusals) -> None:
    write_group(refused.folder / "good")
    write_group(refused.folder / "bad")
    halve(refused.folder / "bad" / "targets" / "t.jpg")
    assert exit_code(*FAST, "data=folder", "data.root=bad,good") == 2
    assert [row["status"] for row in summary(only_run(refused.folder / "results"))] == ["skipped", "ok"]


def test_a_results_folder_that_can_not_be_written_is_named(refused: Refusals) -> None:
    sentence = refused.sentence("strategy=direct", "results=/dev/null/x")
    assert "/dev/null/x" in sentence
    assert "results=" in sentence


# --- as a process --------------------------------------------------------------------------------------------------


@pytest.mark.processes
def test_a_refused_command_writes_one_line_and_leaves_no_folder(tmp_path: Path) -> None:
    done = run(tmp_path, "strategy=dirct", *TINY)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "did you mean direct?" in complaint(done.stderr)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tmp"]
