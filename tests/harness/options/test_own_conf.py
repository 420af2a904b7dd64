"""A user's own `./conf`: its YAML files are found, and it never takes the place of the one that ships."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from harness.options.compose import compose
from harness.options.shipped import shipped, strategies
from strategies.errors import UserError
from tests.support.harness_runs import complaint, exit_code

MINE = "_target_: strategies.direct.Direct\nbank: repeat\n"


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder ``conf`` of another project, which is a package, has options of its own, and one strategy for us."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "conf"
    (folder / "strategy").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('another project')\n")
    (folder / "config.yaml").write_text("batch: 77\nlearning_rate: 0.1\n")
    (folder / "strategy" / "mine.yaml").write_text(MINE)
    return folder


def test_a_strategy_in_the_current_folder_is_found(conf: Path) -> None:
    (point,) = compose(["strategy=mine", "batch=2"])
    assert (point.strategy, point.config.strategy["bank"], point.config.batch) == ("mine", "repeat", 2)


def test_options_are_those_that_ship(conf: Path) -> None:
    (point,) = compose(["strategy=direct"])
    assert point.config.batch == 8
    assert "learning_rate" not in point.options


def test_what_ships_goes_before_a_file_of_the_same_name(conf: Path) -> None:
    (conf / "strategy" / "direct.yaml").write_text("_target_: strategies.sequential.Sequential\n")
    (point,) = compose(["strategy=direct"])
    assert point.config.strategy["_target_"] == "strategies.direct.Direct"


@pytest.mark.slow
def test_the_default_sweep_has_it(conf: Path) -> None:
    assert "mine" in {point.strategy for point in compose(["batch=2"])}


def test_another_folder_is_named_by_an_option(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = conf.rename(conf.with_name("elsewhere"))
    assert exit_code("strategy=mine") == 2
    assert "strategy=mine is not known" in complaint(capsys.readouterr().err)
    (point,) = compose(["strategy=mine", f"hydra.searchpath=[file://{elsewhere}]"])
    assert point.strategy == "mine"


def test_a_glob_finds_what_another_folder_has(conf: Path) -> None:
    elsewhere = conf.rename(conf.with_name("elsewhere"))
    named = f"hydra.searchpath=[file://{elsewhere}]"
    (point,) = compose(["strategy=glob(m*,exclude=multi*)", named])
    assert point.strategy == "mine"
    assert [again.digest for again in compose(shlex.split(point.command)[3:])] == [point.digest]


def test_what_is_no_yaml_file_is_no_strategy(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (conf / "strategy" / "parts").mkdir()
    (conf / "strategy" / ".mine.yaml.swp").write_bytes(b"\xff\x00")
    (conf / "strategy" / ".hidden.yaml").write_bytes(b"\xff\x00")
    monkeypatch.setattr("harness.options.shipped.CONF", conf)
    strategies.cache_clear()
    try:
        assert list(strategies()) == ["mine"]
    finally:
        strategies.cache_clear()
        shipped.cache_clear()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            "baseline: direct",
            ["baseline=direct is not valid", "strategy@baseline=NAME on the command line chooses one"],
        ),
        ("data: 3", ["experiment/own.yaml: 3 is given for a section"]),
        ("data:\n  grops: 3", ["experiment/own.yaml: data.grops= is not an option; did you mean data.groups?"]),
        ("data:\n  groups: some", ["experiment/own.yaml: data.groups=some is not valid: give a whole number"]),
        ("timing: 3", ["timing=3 is not valid: it holds options"]),
        ("defaults: [nosuch]", ["experiment/own.yaml: experiment/nosuch is no file of the options"]),
        ("defaults:\n- override /modle: toy", ["experiment/own.yaml: modle= is no group of files"]),
        ("strategy: direct", ["strategy=direct is not valid where a strategy's options stand: strategy=NAME"]),
        ("batch: two", ["batch=two is not valid: give a whole number"]),
        ("batch: 3", ["experiment=own has to begin with # @package _global_"]),
        ("[batch, 3]", ["experiment/own.yaml holds no mapping of options"]),
        ("3", ["experiment/own.yaml holds no mapping of options: write"]),
        ("\udcff", ["experiment/own.yaml holds no mapping of options: write"]),
    ],
)
def test_a_file_with_mistakes_is_refused_in_one_sentence(conf: Path, text: str, named: list[str]) -> None:
    (conf / "experiment").mkdir()
    head = "" if text.startswith("batch: 3") else "# @package _global_\n"
    (conf / "experiment" / "own.yaml").write_bytes(f"{head}{text}\n".encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError) as refused:
        compose(["strategy=direct", "+experiment=own"])
    for part in named:
        assert part in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_experiment_may_be_chosen_like_any_file(conf: Path) -> None:
    (conf / "experiment").mkdir()
    for name, batch in [("own", 3), ("other", 5)]:
        (conf / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\nbatch: {batch}\n")
    for words in (["experiment=own"], ["+experiment=own"], ["+experiment=own", "experiment=own"]):
        (point,) = compose(["strategy=direct", *words])
        assert (point.config.batch, "+experiment=own" in point.command) == (3, True)
    assert [point.config.batch for point in compose(["strategy=direct", "experiment=own,other"])] == [3, 5]
    assert [point.config.batch for point in compose(["strategy=direct", "experiment=null"])] == [8]
    with pytest.raises(UserError, match="experiment= is chosen more than once: choose one"):
        compose(["strategy=direct", "experiment=own", "experiment=other"])


def test_an_experiment_may_hold_values_that_others_are_made_of(conf: Path) -> None:
    (conf / "experiment").mkdir()
    text = "# @package _global_\nsize: 48\nbatch: ${size}\nsweeps: ['strategy=direct targets=${size}']\n"
    (conf / "experiment" / "own.yaml").write_text(text)
    (point,) = compose(["+experiment=own"])
    assert (point.config.batch, point.config.targets) == (48, 48)
    (point,) = compose(["+experiment=own", "batch=2", "targets=4"])
    assert (point.config.batch, point.config.targets) == (2, 4)


def test_strategies_that_experiments_set_differently_look_different(conf: Path) -> None:
    (conf / "experiment").mkdir()
    for tokens in (256, 512):
        text = f"# @package _global_\nstrategy:\n  chunk_tokens: {tokens}\n"
        (conf / "experiment" / f"of{tokens}.yaml").write_text(text)
    points = compose(["strategy=direct", "+experiment=of256,of512"])
    assert [point.variant for point in points] == ["shared-chunk_tokens=256", "shared-chunk_tokens=512"]


def test_what_has_changed_since_the_command_before_is_read_anew(conf: Path) -> None:
    file, other = conf / "strategy" / "mine.yaml", conf / "strategy" / "other.yaml"
    experiment = conf / "experiment" / "own.yaml"
    assert [point.config.strategy["bank"] for point in compose(["strategy=mine"])] == ["repeat"]
    file.write_text(MINE.replace("repeat", "expand"))
    assert [point.config.strategy["bank"] for point in compose(["strategy=mine"])] == ["expand"]
    file.rename(other)
    with pytest.raises(UserError, match="strategy=mine is not known"):
        compose(["strategy=mine"])
    assert [point.strategy for point in compose(["strategy=glob(o*)"])] == ["other"]
    with pytest.raises(UserError, match=r"experiment=own is not known"):
        compose(["strategy=direct", "+experiment=own"])
    experiment.parent.mkdir()
    experiment.write_text("# @package _global_\nbatch: 3\n")
    assert [point.config.batch for point in compose(["strategy=direct", "+experiment=own"])] == [3]


def test_a_name_may_read_as_a_number(conf: Path) -> None:
    (conf / "strategy" / "mine.yaml").rename(conf / "strategy" / "7.yaml")
    for word in ("strategy=7", "strategy='7'", "strategy=glob(7*)"):
        assert [point.strategy for point in compose([word])] == ["7"]
    assert [point.strategy for point in compose(["strategy=7,direct"])] == ["7", "direct"]
    with pytest.raises(UserError, match="strategy=8 is not known; valid: 7, direct"):
        compose(["strategy=8"])


def test_a_model_needs_no_schema(conf: Path) -> None:
    (conf / "model").mkdir()
    (conf / "model" / "plain.yaml").write_text("name: toy\n")
    (point,) = compose(["strategy=direct", "model=plain"])
    assert point.config.model.name == "toy"


def test_several_files_of_a_group_are_merged(conf: Path) -> None:
    (conf / "experiment").mkdir()
    for name, text in [("some", "batch: 3\nseed: 1\n"), ("more", "batch: 5\n")]:
        (conf / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{text}")
    (point,) = compose(["strategy=direct", "+experiment=[some,more]"])
    assert (point.config.batch, point.config.seed) == (5, 1)
    with pytest.raises(UserError, match=r"experiment=\[some,mor\] is not known; valid: .*more.*some"):
        compose(["strategy=direct", "+experiment=[some,mor]"])
