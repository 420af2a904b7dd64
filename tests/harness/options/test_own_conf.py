"""A user's own `./conf`: its YAML files are found, and it never takes the place of the one that ships."""

from __future__ import annotations

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
    assert [point.strategy for point in compose(["strategy=glob(m*,exclude=multi*)", named])] == ["mine"]


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
        ("baseline: direct", ["baseline=direct is not valid: strategy@baseline=direct chooses"]),
        ("data: 3", ["experiment/own.yaml: 3 is given for a section"]),
        ("data:\n  grops: 3", ["experiment/own.yaml: data.grops= is not an option; did you mean data.groups?"]),
        ("data:\n  groups: some", ["experiment/own.yaml: data.groups=some is not valid: give a whole number"]),
        ("timing: 3", ["timing=3 is not valid: it holds options"]),
        ("timming:\n  width: 1", ["timming= sets an option that nothing reads; did you mean timing?"]),
        ("batch: two", ["batch=two is not valid: give a whole number"]),
        ("[batch, 3]", ["experiment/own.yaml holds no mapping of options"]),
        ("3", ["experiment/own.yaml holds no mapping of options: write"]),
        ("\udcff", ["experiment/own.yaml holds no mapping of options: write"]),
    ],
)
def test_a_file_with_mistakes_is_refused_in_one_sentence(conf: Path, text: str, named: list[str]) -> None:
    (conf / "experiment").mkdir()
    head = "# @package _global_\n" if ":" in text else ""
    (conf / "experiment" / "own.yaml").write_bytes(f"{head}{text}\n".encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError) as refused:
        compose(["strategy=direct", "+experiment=own"])
    for part in named:
        assert part in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_experiment_may_be_chosen_like_any_file_and_may_have_values_of_its_own(conf: Path) -> None:
    (conf / "experiment").mkdir()
    (conf / "experiment" / "own.yaml").write_text("# @package _global_\nsize: 3\nbatch: ${size}\n")
    for word in ("experiment=own", "+experiment=own"):
        (point,) = compose(["strategy=direct", word])
        assert (point.config.batch, "+experiment=own" in point.command) == (3, True)


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


def test_a_name_that_reads_as_a_number_is_quoted(conf: Path) -> None:
    (conf / "strategy" / "7.yaml").write_text(MINE)
    with pytest.raises(UserError, match="strategy=7 is not known; quote the name, as strategy=\"'7'\""):
        compose(["strategy=7"])
    (point,) = compose(["strategy='7'"])
    assert point.strategy == "7"


def test_several_files_of_a_group_are_merged(conf: Path) -> None:
    (conf / "experiment").mkdir()
    for name, text in [("some", "batch: 3\nseed: 1\n"), ("more", "batch: 5\n")]:
        (conf / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{text}")
    (point,) = compose(["strategy=direct", "+experiment=[some,more]"])
    assert (point.config.batch, point.config.seed) == (5, 1)
    with pytest.raises(UserError, match=r"experiment=\[some,mor\] is not known; valid: .*more.*some"):
        compose(["strategy=direct", "+experiment=[some,mor]"])
