"""A file of `conf/data` says how the data is used, and what it says is what a command composes."""

from __future__ import annotations

import logging
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.commands import certify
from harness.data.sources import open_groups
from harness.gate import check
from harness.options.compose import compose
from harness.options.shipped import shipped
from tests.support.harness_runs import exit_code
from tests.support.pictures import write_mask, write_picture

DATA = sorted(path.name.removesuffix(".yaml") for path in (files("conf") / "data").iterdir())
MISSING = "???"
GIVEN: dict[str, tuple[str, ...]] = {
    "synthetic": (),
    "drifting": (),
    "davis": ("data.root=somewhere",),
    "folder": ("data.root=somewhere",),
}
"""What has to be typed with each of them."""
NUMBERS = {"synthetic": (2, 16), "drifting": (1, None), "davis": (2, 16), "folder": (None, None)}
"""The references and targets of a group where the command does not say, with None for all of them."""


def options_of(*words: str) -> dict[str, Any]:
    (point,) = compose(["strategy=direct", *words])
    return point.options


@pytest.mark.slow
@pytest.mark.parametrize("data", DATA)
def test_a_point_has_every_value_that_the_file_gives(data: str) -> None:
    options = options_of(f"data={data}", *GIVEN[data])
    content = shipped(f"data/{data}.yaml")
    is_global = (files("conf") / "data" / f"{data}.yaml").read_text(encoding="utf-8").startswith("# @package _global_")
    said = content if is_global else {"data": content}
    for name, value in said.items():
        if isinstance(value, dict):
            wanted = {key: inner for key, inner in value.items() if inner != MISSING and key != "defaults"}
            assert wanted.items() <= options[name].items()
        elif name != "defaults":
            assert options[name] == value, name


@pytest.mark.slow
@pytest.mark.parametrize("data", DATA)
def test_a_group_has_the_references_and_targets_that_the_comments_tell(data: str) -> None:
    options = options_of(f"data={data}", *GIVEN[data])
    assert (options["refs"], options["targets"]) == NUMBERS[data]


@pytest.mark.slow
@pytest.mark.parametrize("data", DATA)
def test_what_is_typed_goes_before_what_the_file_gives_wherever_it_stands(data: str) -> None:
    for words in (("refs=5", "targets=7", f"data={data}"), (f"data={data}", "refs=5", "targets=7")):
        options = options_of(*words, *GIVEN[data])
        assert (options["refs"], options["targets"]) == (5, 7)


def test_all_pictures_of_a_folder_are_used_where_nobody_says(tmp_path: Path) -> None:
    for number in range(4):
        write_picture(tmp_path / "refs" / f"{number}.jpg")
        write_mask(tmp_path / "refs" / f"{number}.png", 1)
    for number in range(18):
        write_picture(tmp_path / "targets" / f"{number:02d}.jpg")
    (point,) = compose(["strategy=direct", "data=folder", f"data.root={tmp_path}"])
    (group,) = open_groups(point.config)
    assert (len(group.references), len(group.targets)) == (4, 18)


# --- shown by --cfg job --------------------------------------------------------------------------------------------

FLAGS = [["--cfg", "job"], ["--cfg=job"], ["-c", "job"], ["-cjob"]]


@pytest.mark.slow
@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("first", [True, False])
def test_cfg_job_shows_the_values_that_apply_wherever_it_stands(
    flag: list[str], first: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["strategy=direct", "data=folder", "data.root=somewhere", "bank=expand", "targets=7"]
    assert exit_code(*([*flag, *words] if first else [*words, *flag])) == 0
    (shown,) = yaml.safe_load_all(capsys.readouterr().out)
    assert shown == options_of(*words[1:])
    assert (shown["refs"], shown["targets"], shown["data"]["root"]) == (None, 7, "somewhere")
    assert shown["strategy"]["bank"] == "expand"


@pytest.mark.slow
def test_cfg_job_shows_every_point_of_a_sweep_below_the_command_that_measures_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_code("strategy=direct,sequential", "--cfg", "job", "objects=1,9") == 0
    out = capsys.readouterr().out
    shown = list(yaml.safe_load_all(out))
    assert [(one["strategy"]["_target_"].rpartition(".")[2], one["objects"]) for one in shown] == [
        ("Direct", 1),
        ("Sequential", 1),
        ("Direct", 9),
        ("Sequential", 9),
    ]
    assert [one["data"]["parts"] for one in shown] == [4, 4, 9, 9], "specimens grow where more objects are asked for"
    commands = [line for line in out.splitlines() if line.startswith("# ")]
    assert commands[1] == "# python -m harness strategy=sequential objects=1"


@pytest.mark.slow
def test_cfg_job_shows_the_points_of_the_other_commands_too(capsys: pytest.CaptureFixture[str]) -> None:
    for command, batches in ((check.main, [3] * 4), (certify.main, [3])):
        assert command(["--cfg", "job", "batch=3"]) == 0
        assert [one["batch"] for one in yaml.safe_load_all(capsys.readouterr().out)] == batches


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["--info"], ["--info", "batch=3"], ["batch=3", "-i"], ["-iconfig"], ["--info=config"]]
)
def test_what_hydra_knows_is_shown_with_or_without_a_value(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = logging.getLogger().level, list(logging.getLogger().handlers)
    assert exit_code(*words) == 0
    assert "Config" in capsys.readouterr().out
    assert (logging.getLogger().level, logging.getLogger().handlers) == before, "it tells nothing of what comes after"


@pytest.mark.parametrize("words", [["--cfg", "jobs"], ["--cfg=jobs"], ["batch=2", "--cfg"]])
def test_something_else_to_show_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "give --cfg job, --cfg hydra or --cfg all" in err


@pytest.mark.parametrize("words", [["--cfg", "job", "batch=abc"], ["data=folder", "--cfg", "job"]])
def test_what_would_be_refused_is_refused_with_cfg_job_too(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("strategy=direct", *words) == 2
    assert capsys.readouterr().out == ""
