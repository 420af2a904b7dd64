"""Several sweeps in one, as experiments have them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest

from harness.options.compose import compose
from harness.options.points import Point
from strategies.errors import UserError
from strategies.models.loading import FAMILIES
from tests.support.harness_runs import TINY, only_run, run_here, summary

pytestmark = pytest.mark.slow

EXPERIMENTS = sorted(path.name.removesuffix(".yaml") for path in (files("conf") / "experiment").iterdir())


@pytest.fixture(scope="module")
def of_experiment() -> Callable[[str], list[Point]]:
    """An experiment's points with another seed than it would have, composed once."""
    return cache(lambda experiment: compose([f"+experiment={experiment}", "seed=3"]))


def settings(points: list[Point]) -> set[tuple[str, int]]:
    return {(point.strategy, point.config.batch) for point in points}


def test_sweeps_are_joined_without_repetitions() -> None:
    points = compose(["sweeps=['strategy=direct,sequential batch=1,2','strategy=direct batch=2,4']"])
    assert len(points) == 5
    assert settings(points) == {("direct", 1), ("direct", 2), ("direct", 4), ("sequential", 1), ("sequential", 2)}


def test_what_is_typed_goes_before_what_sweeps_say() -> None:
    points = compose(["sweeps=['strategy=direct batch=1,2','strategy=sequential batch=4']", "batch=8", "seed=3"])
    assert settings(points) == {("direct", 8), ("sequential", 8)}
    assert {point.config.seed for point in points} == {3}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiments_points_are_measured_again_by_their_own_commands(
    experiment: str, of_experiment: Callable[[str], list[Point]]
) -> None:
    points = of_experiment(experiment)
    assert len(points) > 1
    of_a_kind = {(point.strategy, point.variant, point.config.data.name): point for point in points}
    for point in of_a_kind.values():
        program, _, module, *words = shlex.split(point.command)
        assert (program, module) == ("python", "harness")
        assert [again.digest for again in compose(words)] == [point.digest]
        assert point.config.experiment == experiment


@pytest.mark.slow
def test_the_fields_claims_have_the_points_that_they_are_about(of_experiment: Callable[[str], list[Point]]) -> None:
    points = of_experiment("field_claims")
    kinds = {(point.strategy, point.config.batch, point.config.refs) for point in points}
    assert {("rebuild", 1, refs) for refs in (8, 12, 16)} < kinds
    assert {("direct", batch, 8) for batch in (8, 16)} < kinds
    assert {("multi_session", batch, 8) for batch in (1, 8, 16)} < kinds
    assert {point.variant for point in points if point.strategy == "direct"} == {"shared", "repeat"}


def test_families_are_compared_by_the_toys_of_all_or_by_the_models_that_are_named(
    of_experiment: Callable[[str], list[Point]],
) -> None:
    points = of_experiment("families")
    toys = {one for family in FAMILIES for one in family.names if one.endswith("toy")}
    assert len(toys) == len(FAMILIES)
    kinds = {(point.config.model.name, point.strategy, point.config.objects) for point in points}
    assert kinds == set(product(toys, ("sequential", "direct"), (1, 4)))
    named = compose(["+experiment=families", "model=sam3_tracker,edgetam", "model.weights=random", "objects=1"])
    assert {point.config.model.name for point in named} == {"sam3_tracker", "edgetam"}
    assert {point.config.model.weights for point in named} == {"random"}


def test_families_are_told_pairs_a_second_and_memory(tmp_path: Path) -> None:
    ended = run_here(tmp_path, "+experiment=families", "batch=2", *TINY, "refs=1", "targets=2", "paired=false")
    assert ended.returncode == 0, ended.stderr
    rows = summary(only_run(tmp_path / "results"))
    assert len(rows) == 2 * len(FAMILIES), "with one number of objects"
    for row in rows:
        assert (row["status"], row["masks"]) == ("ok", "same")
        assert float(row["objects_per_s"]) > 0
        assert float(row["peak_rss_mb"]) > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweeps=['strategy=direct \"batch=1']"], "can't be split into words"),
        (["sweeps=['strategy=drect']"], "strategy=drect is not known; did you mean direct?"),
        (["+experiment=claims"], "experiment=claims is not known; .*valid: families, field_claims"),
    ],
)
def test_a_bad_sweep_is_refused_in_a_sentence(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compose(words)
