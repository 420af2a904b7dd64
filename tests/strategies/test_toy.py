"""The toy model that ships with the project: small, trained by the project's own command, and able to segment."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from harness.commands.train_toy import TRAINING_SEED
from harness.commands.validation import VALIDATION_SEED, validation_scores
from strategies import load_model
from strategies.models.sam2_family import TOY_FOLDER
from tests.support.commands import start


def test_its_weights_are_small_and_its_card_says_how_they_were_made() -> None:
    assert (TOY_FOLDER / "model.safetensors").stat().st_size <= 8_000_000
    card = json.loads((TOY_FOLDER / "training.json").read_text())
    assert card["validation"]["j"] >= 0.75
    assert card["validation"]["seed"] == VALIDATION_SEED != TRAINING_SEED
    with (TOY_FOLDER / "training_log.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps[-1] == card["steps"]


@pytest.mark.slow
def test_it_segments_specimens_that_it_was_never_trained_on() -> None:
    assert validation_scores(load_model("toy"), groups=6, targets=4)["j"] >= 0.75


@pytest.mark.processes
def test_the_training_command_writes_scored_weights(tmp_path: Path) -> None:
    steps = ("--steps", "2", "--score-groups", "1", "--folder", "toy")
    trained = start(tmp_path, *steps, module="harness.train_toy")
    assert trained.wait(300) == 0, trained.communicate()
    written = {path.name for path in (tmp_path / "toy").iterdir()}
    assert written == {"model.safetensors", "training.json", "training_log.csv"}
    assert 0 <= json.loads((tmp_path / "toy" / "training.json").read_text())["validation"]["j"] <= 1
