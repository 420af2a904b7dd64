"""``check.against=git:REVISION``: the working tree's strategies beside the committed code's own, in one process.

The strategies lie in a git repository of the test's own, and move a clock instead of taking time.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from harness.data.sources import open_groups
from harness.gate.check import main
from harness.gate.committed import Committed, committed_options, imported
from harness.gate.revision import Revision
from harness.measure.making import make_strategy
from harness.options.config import EncodeConfig
from harness.workload.encode import Workload, encode_workload
from strategies import Direct, load_model
from strategies.errors import UserError
from tests.support.check_runs import GRID, junit_cases, ticking
from tests.support.harness_runs import complaint, point, run_here, strict_json, summary
from tests.support.paths import ROOT

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")

MINE = '''
import pace
from strategies import Direct
from tests.support.check_runs import BENCH, Remembered, flipped


class Mine(Remembered):
    """Takes as long as the module `pace` says."""

    def _predict(self, targets):
        from pace import FLIPPED  # Imports within functions are of the same version, too.

        BENCH.spend(0.01 * pace.SHARE * len(targets))
        right = super()._predict(targets)
        return flipped(right) if FLIPPED else right


class Loose(Mine):
    exact = False
'''
PACE = "SHARE, FLIPPED = {share}, {flipped}\n"


def git(folder: Path, *words: str) -> str:
    options = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(folder), *options, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A user's repository with two strategies and their YAMLs."""

    folder: Path

    def write(self, *, share: float = 1.0, flipped: bool = False) -> None:
        (self.folder / "pace.py").write_text(PACE.format(share=share, flipped=flipped), encoding="utf-8")

    def commit(self) -> str:
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-q", "-m", "as it was")
        return git(self.folder, "rev-parse", "HEAD")

    def check(self, *more: str, strategy: str = "mine") -> subprocess.CompletedProcess[str]:
        options = [f"strategy={strategy}", "batch=3", f"hydra.searchpath=[file://{self.folder / 'my_conf'}]"]
        named = {word.partition("=")[0] for word in (*options, *more, "strategy@baseline=")}
        words = [*options, *(word for word in GRID if word.partition("=")[0] not in named), "check.against=git:HEAD"]
        given = [word for word in words if word.partition("=")[0] not in {one.partition("=")[0] for one in more}]
        return run_here(self.folder, *given, *more, command=main)

    @property
    def latest(self) -> Path:
        return (self.folder / "results" / "latest").resolve()

    def cases(self) -> dict[tuple[str, str], str]:
        return {
            (point.split()[0], quantity): state
            for (point, quantity), state in junit_cases(self.latest / "junit.xml").items()
        }


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    made = Repository(folder=tmp_path)
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    (tmp_path / ".gitignore").write_text("results\ntmp\n__pycache__\n", encoding="utf-8")
    for name, target in (("mine", "mine.Mine"), ("loose", "mine.Loose")):
        yaml = tmp_path / "my_conf" / "strategy" / f"{name}.yaml"
        yaml.parent.mkdir(parents=True, exist_ok=True)
        yaml.write_text(f"_target_: {target}\n", encoding="utf-8")
    made.write()
    git(tmp_path, "init", "-q", "-b", "main")
    made.commit()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Its modules change within one tick of their files' times.
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    with ticking(monkeypatch):
        yield made


# --- the verdict ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "code", "state"), [(1.2, 1, "failure"), (1.0, 0, "passed"), (0.7, 0, "passed"), (1.1, 3, "skipped")]
)
def test_the_working_trees_speed_is_judged_beside_the_committed_codes(
    repository: Repository, share: float, code: int, state: str
) -> None:
    repository.write(share=share)
    done = repository.check("check.retries=0")
    assert done.returncode == code, done.stdout + done.stderr
    assert repository.cases() == {("mine", "status"): "passed", ("mine", "speedup"): state}
    (line,) = summary(repository.latest)
    assert float(line["speedup"]) == pytest.approx(1 / share, rel=0.02)
    assert line["masks"] == "same"
    assert "alive in the same processes" in done.stdout
    assert git(repository.folder, "rev-parse", "HEAD")[:8] in done.stdout


@pytest.mark.slow
def test_several_processes_and_what_is_unclear_are_measured_as_ever(repository: Repository) -> None:
    repository.write(share=1.1)
    done = repository.check("check.retries=1", "timing.processes=2", "timing.max_seconds=0.5")
    assert done.returncode == 3
    assert "1 of 1 points are unclear and are measured again" in done.stderr
    assert sorted(int(line["processes"]) for line in summary(repository.latest)) == [2, 4]


@pytest.mark.slow
def test_masks_are_compared_with_the_committed_codes_own(repository: Repository) -> None:
    repository.write(flipped=True)
    done = repository.check("check.retries=0", strategy="mine,loose")
    assert done.returncode == 1, done.stdout + done.stderr
    failed = {case for case, state in repository.cases().items() if state == "failure"}
    assert failed == {("mine", "status"), ("loose", "iou_mean"), ("loose", "iou_min")}


@pytest.mark.slow
def test_masks_that_are_as_wrong_as_they_were_are_no_regression_where_no_exactness_is_promised(
    repository: Repository,
) -> None:
    repository.write(flipped=True)
    repository.commit()
    done = repository.check("check.retries=0", strategy="loose")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(repository.cases().values()) == {"passed"}


@pytest.mark.slow
def test_an_exact_strategy_that_was_wrong_when_it_was_committed_leaves_it_open(repository: Repository) -> None:
    repository.write(flipped=True)
    repository.commit()
    repository.write()
    done = repository.check("check.retries=0")
    assert done.returncode == 3, done.stdout + done.stderr
    assert repository.cases() == {("mine", "status"): "skipped"}
    assert "the baseline strategy itself is wrong" in done.stdout


@pytest.mark.slow
def test_a_strategy_that_the_revision_lacks_is_new_and_measured_as_usual(repository: Repository) -> None:
    (repository.folder / "newer.py").write_text(MINE.replace("Mine", "Newer"), encoding="utf-8")
    (repository.folder / "my_conf" / "strategy" / "newer.yaml").write_text("_target_: newer.Newer\n", encoding="utf-8")
    done = repository.check("check.retries=0", "strategy@baseline=mine", strategy="mine,newer")
    assert done.returncode == 0, done.stdout + done.stderr
    assert repository.cases()["newer", "status"] == "skipped"
    assert ("newer", "speedup") not in repository.cases()
    assert repository.cases()["mine", "speedup"] == "passed"
    assert "has no newer.Newer; there is nothing to compare it with" in done.stdout


@pytest.mark.slow
def test_an_older_revision_is_compared_with_by_its_name(repository: Repository) -> None:
    first = git(repository.folder, "rev-parse", "HEAD")
    repository.write(share=1.2)
    repository.commit()
    assert repository.check("check.retries=0").returncode == 0
    done = repository.check("check.retries=0", "check.against=git:HEAD~1")
    assert done.returncode == 1
    stored = next((repository.latest / "points").glob("*.json"))
    assert strict_json(stored)["config"]["baseline"]["commit"] == first


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["check.against=git:nowhere"], "check.against=git:nowhere is no revision of the repository of"),
        (["check.against=git:--all"], "is no revision of the repository of"),
        (["check.against=git:^HEAD"], "is no revision of the repository of"),
        (["check.against=git:"], "is not valid: give git:REVISION"),
        (["check.against=main"], "is not valid: give git:REVISION"),
        (["check.against=git:HEAD", "--update"], "takes no --update"),
        (["check.against=git:HEAD", "check.run=results/latest"], "takes no check.run="),
        (["check.against=git:HEAD", "check.snapshot=a.json"], "takes no check.snapshot="),
    ],
)
def test_what_can_not_be_compared_is_one_sentence_and_2(repository: Repository, words: list[str], reason: str) -> None:
    done = repository.check(*words)
    assert done.returncode == 2
    assert reason in complaint(done.stderr)
    assert not (repository.folder / "results").exists()


def test_a_folder_without_a_repository_is_one_sentence_and_2(repository: Repository) -> None:
    shutil.rmtree(repository.folder / ".git")
    done = repository.check()
    assert done.returncode == 2
    assert "is in no git repository" in complaint(done.stderr)


def test_a_machine_without_git_is_one_sentence_and_2(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "tmp"))
    done = repository.check()
    assert done.returncode == 2
    assert "needs git, which is not installed" in complaint(done.stderr)


# --- a whole library beside itself ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that holds the package `strategies`, as this one does."""
    folder = tmp_path_factory.mktemp("library")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "strategies", folder / "strategies", ignore=ignored)
    direct = folder / "strategies" / "direct.py"
    direct.write_text(direct.read_text(encoding="utf-8") + "\nOF_THE_COMMIT = True\n", encoding="utf-8")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "all of it")
    return folder


@pytest.mark.slow
def test_committed_strategies_bring_their_own_library_and_predict_the_same_to_the_bit(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.gate.committed.place_of", lambda target: library)
    commit = git(library, "rev-parse", "HEAD")
    asked = point("direct", batch=2, targets=2)
    model = load_model("toy")
    groups = open_groups(asked.config)
    encode_workload(model, groups, options=EncodeConfig(), folder=tmp_path / "features")
    (encoded,) = Workload(model, groups, tmp_path / "features").groups
    references, targets = encoded.references(model.device, None), encoded.targets[:2].clone()
    with (
        make_strategy(committed_options(asked.config, commit), model) as committed,
        make_strategy(asked.config.strategy, model) as today,
    ):
        assert isinstance(committed, Committed)
        prefix, names = imported(library, commit)
        assert names == {"strategies"}
        inner = committed._strategy
        assert type(inner).__module__ == f"{prefix}.strategies.direct"
        assert not isinstance(inner, Direct)
        assert type(inner.model).__module__.startswith(prefix)
        committed.prepare(references)
        today.prepare(references)
        theirs, ours = committed.predict(targets), today.predict(targets)
        assert type(theirs) is type(ours)
        for name in ("logits", "object_scores", "ious"):
            assert torch.equal(getattr(theirs, name), getattr(ours, name)), name
    outside = [name for name in sys.modules if name.startswith(prefix)]
    assert any(name.endswith("memory_attention") for name in outside)
    assert not hasattr(sys.modules["strategies.direct"], "OF_THE_COMMIT")


def test_options_that_the_committed_constructor_lacks_are_left_out_where_they_are_at_their_defaults(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(repository.folder)
    commit = git(repository.folder, "rev-parse", "HEAD")
    newer = "\n\nclass Newer(Direct):\n    def __init__(self, model, *, bank='shared', depth: int = 3):\n"
    older = newer.replace(", depth: int = 3", "") + "        super().__init__(model, bank=bank)\n"
    source = repository.folder / "mine.py"
    source.write_text(MINE + older, encoding="utf-8")
    commit = repository.commit()
    source.write_text(MINE + newer + "        super().__init__(model, bank=bank)\n", encoding="utf-8")
    model = load_model("toy")
    try:
        for depth, taken in ((3, True), (4, False)):
            strategy = {"_target_": "mine.Newer", "bank": "repeat", "depth": depth}
            if taken:
                Committed(model, commit=commit, strategy=strategy, loaded={})
                continue
            with pytest.raises(UserError, match="had no option depth"):
                Committed(model, commit=commit, strategy=strategy, loaded={})
    finally:
        for name in ("mine", "pace"):
            sys.modules.pop(name, None)


def test_what_a_revision_has_is_told_from_its_source(repository: Repository) -> None:
    revision = Revision.of("git:main", repository.folder)
    assert revision.names() == ["mine", "pace"]
    assert revision.has("mine.Mine")
    assert revision.has("mine.Direct"), "imported there"
    assert not revision.has("mine.Yours")
    assert not revision.has("yours.Yours")
