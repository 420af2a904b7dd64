"""Scores of the toy model on specimens that it was never trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.data.synthetic import synthetic_groups
from harness.masks.scores import ScoreMeter
from strategies.models.tracker import Tracker
from strategies.oracle import Oracle

VALIDATION_SEED = 4242
SIZE = (160, 160)


def validation_scores(model: Tracker, *, groups: int, targets: int = 8) -> dict[str, Any]:
    """Score `sequential` by J, F and J&F on ``groups`` validation groups: two references, four objects, some absent."""
    meter = ScoreMeter()
    drawn = synthetic_groups(count=groups, references=2, targets=targets, objects=4, size=SIZE, seed=VALIDATION_SEED)
    for group in drawn:
        labels = [frame.labels() for frame in group.references if frame.labels is not None]
        with Oracle(model) as strategy:
            strategy.prepare(model.references([frame.image() for frame in group.references], labels, group.object_ids))
            for target in group.targets:
                assert target.labels is not None
                truth = target.labels()
                predicted = strategy.predict(model.encode([target.image()])).label_map(0, size=SIZE)
                meter.update(group.name, group.object_ids, predicted.cpu().numpy().astype(np.uint8), truth)
    scores = meter.result()
    assert scores is not None
    return {
        "j": round(scores.j, 4),
        "f": round(scores.f, 4),
        "jf": round(scores.jf, 4),
        "groups": groups,
        "targets": targets,
        "references": 2,
        "objects": 4,
        "seed": VALIDATION_SEED,
        "strategy": "sequential",
    }
