"""An option of a strategy stands in its constructor: it is checked and swept from there, and shown wherever it differs.

`piecewise` is a strategy as a user adds one: a file and a YAML in a folder of their own, no line in this package.
"""

from __future__ import annotations

import ast
import shlex
from pathlib import Path

import pytest

from harness.gate.check import GRID
from harness.gate.snapshot import load
from harness.options.compose import compose
from harness.options.config import HarnessConfig, SyntheticConfig
from harness.options.points import Point
from harness.options.shipped import shipped, strategies
from harness.options.signature import signature_of
from harness.store.point_key import key_of
from strategies.errors import UserError
from tests.support.harness_runs import TINY, complaint, exit_code
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow


def variants(points: list[Point]) -> list[tuple[str, str]]:
    return [(point.strategy, point.variant) for point in points]


# --- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["direct", "bank=shard"],
            "bank=shard is not known; did you mean shared? choose one of shared, expand, repeat",
        ),
        (["sequential", "bank=shard"], "bank=shard is not known; did you mean shared?"),
        (["direct", "strategy.bank=shard"], "strategy.bank=shard is not known; did you mean shared?"),
        (["sequential", "strategy@baseline=direct", "baseline.sdpa=flush"], "baseline.sdpa=flush is not known"),
        (["direct", "compile=perhaps"], "compile=perhaps is not valid: strategies.direct.Direct takes true or false"),
        (["piecewise", "strategy.order=forwards"], "strategy.order=forwards is not known; did you mean forward?"),
        (["piecewise", "strategy.piece=half"], "strategy.piece=half is not valid:  ... takes a whole number"),
        (["piecewise", "strategy.piece=1.5"], "strategy.piece=1.5 is not valid"),
        (["piecewise", "strategy.piece=true"], "strategy.piece=true is not valid"),
        (["piecewise", "strategy.piece=null"], "strategy.piece=null is not valid"),
        (["piecewise", "strategy.peice=3"], "strategy.peice= is not an option of piecewise; did you mean piece?"),
        (["sequential", "strategy.piece=3"], "strategy.piece= is not an option of sequential: leave it out"),
        (
            ["direct,sequential", "strategy.piece=3"],
            "is not an option of direct, sequential;  ... strategy.chunk_tokens",
        ),
        (["sequential", "baseline.piece=3"], "baseline.piece= is not an option of sequential"),
        (["stray"], "strategy.piec= is not an option of stray; did you mean piece?"),
        (["triton", "strategy.memory=pooled:2"], "strategy.memory= is not an option of triton"),
        (["needy"], "strategy.colour= is missing: needy needs it"),
        (["needy", "strategy.colour=3"], "strategy.colour=3 is not valid:  ... takes a text, quoted as"),
        (["generous", "strategy.ratio=much"], "strategy.ratio=much is not valid:  ... takes a number or null"),
        (["generous", "strategy.loud=1"], "strategy.loud=1 is not valid:  ... takes true or false"),
        (
            ["choosy", "strategy.piece='4'"],
            "strategy.piece=4 is of another type than the choice: give it without quotes",
        ),
        (["choosy", "strategy.word=true"], "strategy.word=true is of another type  ... strategy.word=\"'true'\""),
        (["knobby", "pace=slow"], "pace=slow is not valid:  ... takes a whole number"),
        (["direct", "timing=3"], "timing=3 is not valid"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_a_constructor_does_not_take_is_refused_in_one_sentence(
    search: str, words: list[str], sentence: str
) -> None:
    with pytest.raises(UserError) as refused:
        compose([search, f"strategy={words[0]}", *words[1:]])
    assert "\n" not in str(refused.value)
    for part in sentence.split(" ... "):
        assert part in str(refused.value)


def test_what_it_takes_is_passed_on(search: str) -> None:
    words = ["strategy.ratio=3", "strategy.loud=false", "strategy.anything=[1,2]"]
    (point,) = compose([search, "strategy=generous", *words])
    assert {name: point.config.strategy[name] for name in ("ratio", "loud", "anything")} == {
        **{"ratio": 3, "loud": False},
        "anything": [1, 2],
    }
    (point,) = compose([search, "strategy=needy", "strategy.colour=green"])
    assert point.config.strategy["colour"] == "green"
    assert point.variant == "colour=green"


@pytest.mark.parametrize("name", ["lost", "explosive", "leaving", "nameless", "bare", "absent"])
def test_a_strategy_that_can_not_be_imported_ends_the_command_with_a_sentence(
    search: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(search, f"strategy=direct,{name}", *TINY) == 2
    sentence = complaint(capsys.readouterr().err)
    assert f"strategy={name}" in sentence
    assert "package.module.Class" in sentence
    assert list(tmp_path.iterdir()) == []
    if name == "explosive":
        assert "SystemError: boom and more" in sentence


def test_a_strategy_that_this_machine_can_not_have_is_left_to_its_point(search: str) -> None:
    (point,) = compose([search, "strategy=unavailable", "strategy.piece=3"])
    assert point.config.strategy == {"_target_": "unavailable_strategy.Mine", "piece": 3}


# --- sweeps --------------------------------------------------------------------------------------------------------


def test_an_option_that_is_in_no_yaml_is_swept_like_any_other(search: str) -> None:
    points = compose([search, "strategy=piecewise", "strategy.piece=1,4", "strategy.order=forward,backward"])
    assert variants(points) == [
        ("piecewise", "piece=1"),
        ("piecewise", "order=backward-piece=1"),
        ("piecewise", "piece=4"),
        ("piecewise", "order=backward-piece=4"),
    ]
    assert len({point.name for point in points}) == len({key_of(point) for point in points}) == 4


def test_an_option_applies_to_the_strategies_that_have_it_and_makes_no_difference_to_others(search: str) -> None:
    points = compose([search, "strategy=piecewise,direct", "strategy.piece=1,4", "bank=shared,repeat"])
    assert sorted(variants(points)) == [
        *(("direct", "repeat"), ("direct", "shared")),
        *(("piecewise", "piece=1"), ("piecewise", "piece=4")),
    ]
    for point in points:
        words = [word for word in point.overrides if not word.startswith("hydra.")]
        assert ("strategy.piece" in point.command) == (point.strategy == "piecewise")
        assert [again.digest for again in compose([search, *words])] == [point.digest]


def test_a_default_that_is_given_is_no_other_point(search: str) -> None:
    usual, same, other = (
        compose([search, "strategy=piecewise", *words]) for words in ([], ["strategy.piece=2"], ["strategy.piece=3"])
    )
    assert [point.name for point in usual] == [point.name for point in same]
    assert [point.name for point in usual] != [point.name for point in other]


def test_what_a_yaml_gives_is_said_by_its_name_and_what_differs_from_it_is_shown(search: str) -> None:
    points = compose([search, "strategy=large", "strategy.piece=16,2"])
    assert variants(points) == [("large", ""), ("large", "piece=2")]


def test_a_variant_tells_how_the_knobs_are_set_that_the_strategy_takes() -> None:
    def variant(*words: str) -> str:
        (point,) = compose(list(words))
        return point.variant

    assert variant("strategy=direct", "bank=expand", "positions=raw") == "expand"
    assert variant("strategy=extended_session", "bank=expand", "positions=raw") == "raw"
    assert variant("strategy=direct", "compile=true", "sdpa=flash") == "shared-compile-flash"
    assert variant("strategy=direct", "strategy.chunk_tokens=1024", "bank=repeat") == "repeat-chunk_tokens=1024"
    assert variant("strategy=direct", "strategy.bank=repeat") == "repeat"
    assert variant("strategy=direct", "strategy.memory=pooled:2") == "shared-memory=pooled:2"
    assert variant("strategy=extended_session", "strategy.slots=3", "batch=8") == "pinned-slots=3"


def test_several_options_may_be_given_as_one_mapping() -> None:
    points = compose(["strategy=direct", "strategy={bank:shared},{bank:repeat}"])
    assert variants(points) == [("direct", "shared"), ("direct", "repeat")]


def test_a_value_of_ones_own_is_in_the_commands_of_points_that_read_it(search: str) -> None:
    points = compose([search, "strategy=direct,piecewise", "strategy.piece=${pieces}", "+pieces=3"])
    assert variants(points) == [("direct", "shared"), ("piecewise", "piece=3")]
    assert ["+pieces=3" in point.command for point in points] == [False, True]
    for point in points:
        assert [again.digest for again in compose(shlex.split(point.command)[3:])] == [point.digest]


def test_true_and_one_are_two_choices(search: str) -> None:
    points = compose([search, "strategy=choosy", "strategy.mixed=true,1"])
    assert variants(points) == [("choosy", ""), ("choosy", "mixed=1")]


def test_a_knob_of_ones_own_is_an_option_at_the_top_level(search: str) -> None:
    points = compose([search, "strategy=knobby", "pace=3,5"])
    assert variants(points) == [("knobby", "piece=3"), ("knobby", "piece=5")]
    assert [point.options["pace"] for point in points] == [3, 5]


# --- options of the harness ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sweep",
    [
        *("timing.width=0.05,0.2", "encode.batch=1,4", "seed=0,1", "monitor_interval=0.2,1", "project_to=1,2"),
        *("compare=true,false", "paired=true,false", "data.parts=2,3", "model.weights=null,random", "pictures=0,3"),
        *("strategy@baseline=sequential,direct", "timeout=1,2"),
    ],
)
def test_points_that_differ_in_an_option_are_distinguished_in_words(sweep: str) -> None:
    points = compose(["strategy=direct", sweep])
    assert len(points) == (1 if sweep.startswith("timeout") else 2)
    assert len({tuple(point.words) for point in points}) == len(points)


def test_points_whose_baselines_differ_are_distinguished() -> None:
    points = compose(["strategy=sequential", "strategy@baseline=direct", "bank=shared,repeat"])
    assert [point.words for point in points] == [
        ["strategy@baseline=direct"],
        ["strategy@baseline=direct", "baseline.bank=repeat"],
    ]
    assert [key_of(point).partition("against=")[2] for point in points] == ["Direct", "Direct baseline.bank=repeat"]


def test_a_point_as_shipped_has_no_words_to_tell() -> None:
    (point,) = compose(["strategy=direct"])
    assert point.words == []


SNAPSHOTS = (*(ROOT / "results/baselines").glob("*.json"), ROOT / "tests/harness/gate/old_snapshot.json")
"""The committed one, and one of the first, which checks still read."""


@pytest.mark.parametrize("path", SNAPSHOTS, ids=lambda path: path.stem)
def test_the_keys_of_the_gates_own_grid_are_those_of_a_snapshot(path: Path) -> None:
    points = compose([f"{option}={value}" for option, value in GRID.items()], module="harness.check")
    assert {key_of(point) for point in points} == set(load(path).points)


# --- where things stand --------------------------------------------------------------------------------------------


def test_defaults_are_those_of_the_yamls() -> None:
    assert HarnessConfig().batch == shipped()["batch"]
    assert HarnessConfig().certify.slowdowns == shipped()["certify"]["slowdowns"]
    assert SyntheticConfig().groups == shipped("data/synthetic.yaml")["data"]["groups"]
    (point,) = compose(["strategy=direct"])
    made = HarnessConfig()
    for name in ("timing", "encode", "check", "certify", "seed", "reporter", "timeout"):
        assert getattr(point.config, name) == getattr(made, name)


@pytest.mark.parametrize("name", strategies())
def test_an_option_that_strategies_share_has_the_default_of_their_constructors(name: str) -> None:
    """A constructor is called from a notebook, too. What the harness reads itself, as ``batch``, is the run's."""
    signature = signature_of(strategies()[name]["_target_"], named=f"strategy={name}")
    assert signature is not None
    shared = {option: f"${{{option}}}" for option in signature.defaults}
    for option, value in strategies()[name].items():
        if value == shared.get(option) and option not in HarnessConfig.__dataclass_fields__:
            assert signature.defaults[option] == shipped()[option], option


def test_no_module_of_the_harness_imports_a_strategy_by_name() -> None:
    modules, classes = zip(*(node["_target_"].rsplit(".", 1) for node in strategies().values()), strict=True)
    for path in ROOT.glob("harness/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & set(modules), path
            elif isinstance(node, ast.ImportFrom):
                named = {f"{node.module}.{alias.name}" for alias in node.names}
                assert node.module not in modules, path
                assert not named & {*modules, *(f"strategies.{name}" for name in classes)}, path


@pytest.mark.parametrize(("name", "words"), [("broken", "a YAML file can't be read"), ("listed", "no mapping")])
def test_a_yaml_of_another_kind_is_one_sentence(search: str, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        compose([search, f"strategy={name}"])


def test_mappings_with_keys_of_several_kinds_are_values_too(search: str) -> None:
    one, other = (
        compose([search, "strategy=generous", f"strategy.d={value}"])[0] for value in ("{1:a,b:c}", "{1:a,b:d}")
    )
    assert one.digest != other.digest


def test_knobs_that_could_have_each_others_value_are_told_by_name(search: str) -> None:
    variants = {compose([search, "strategy=doubtful", *words])[0].variant for words in (["left=x"], ["right=x"])}
    assert variants == {"left=x-right=auto", "left=auto-right=x"}
