"""Using `strategies` as a library, the way a README shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from harness.data.synthetic import synthetic_groups
from strategies import Direct, Sam2, Sequential

SIZES = ((96, 128), (128, 96), (150, 151), (33, 200))
"""(height, width) of the pictures in the folder."""
IDS = (7, 3, 250)


def write_pictures(folder: Path) -> None:
    """Two labelled references, and pictures of mixed sizes and kinds."""
    for number, size in enumerate(SIZES):
        drawn = synthetic_groups(count=1, references=2, targets=1, objects=3, size=size, seed=number)[0]
        (folder / "targets").mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(drawn.targets[0].image())
        picture.convert("L" if number == 1 else "RGB").save(folder / "targets" / f"{number}.png")
        if number == 0:
            to_id = np.array([0, *IDS], dtype=np.uint8)
            for index, frame in enumerate(drawn.references):
                assert frame.labels is not None
                Image.fromarray(frame.image()).save(folder / f"reference{index}.png")
                Image.fromarray(to_id[frame.labels()]).save(folder / f"reference{index}_labels.png")


def test_a_folder_of_pictures_becomes_label_maps_of_their_sizes(model: Sam2, tmp_path: Path) -> None:
    write_pictures(tmp_path)
    results = tmp_path / "masks"
    results.mkdir()

    # The lines of the README; there, model = load_model("toy").
    pictures = [Image.open(tmp_path / f"reference{index}.png") for index in range(2)]
    labels = [np.array(Image.open(tmp_path / f"reference{index}_labels.png")) for index in range(2)]
    paths = sorted((tmp_path / "targets").iterdir())
    with Direct(model) as strategy:
        strategy.prepare(model.references(pictures, labels, object_ids=IDS))
        for start in range(0, len(paths), 3):
            batch = [Image.open(path) for path in paths[start : start + 3]]
            masks = strategy.predict(model.encode(batch))
            for index, picture in enumerate(batch):
                label_map = masks.label_map(index, size=(picture.height, picture.width))
                name = paths[start + index].name
                Image.fromarray(label_map.numpy().astype(np.uint8)).save(results / name)

    saved = [np.array(Image.open(path)) for path in sorted(results.iterdir())]
    assert [array.shape for array in saved] == list(SIZES)
    found = set(np.unique(np.concatenate([array.flatten() for array in saved])).tolist())
    assert found <= {0, *IDS}
    assert len(found) > 2, "objects were found"


def test_references_take_all_ids_that_occur_and_leave_out_background_and_void(model: Sam2) -> None:
    picture = np.zeros((40, 60, 3), dtype=np.uint8)
    first, second = np.zeros((40, 60), dtype=np.uint8), np.zeros((40, 60), dtype=np.uint8)
    first[:20, :30], first[20:, :30], second[:, 30:] = 250, 255, 4
    references = model.references([picture, picture], [first, second])
    assert references.object_ids == (4, 250)
    assert references.masks.flatten(2).any(-1).tolist() == [[False, True], [True, False]]
    side = model.side
    expected = np.zeros((side, side), dtype=bool)
    expected[: side // 2, : side // 2] = True
    assert (references.masks[0, 1].numpy() == expected).mean() > 0.999  # the resize rounds the corner


def test_strategies_are_exchangeable(model: Sam2, tmp_path: Path) -> None:
    write_pictures(tmp_path)
    picture = Image.open(tmp_path / "reference0.png")
    labels = np.array(Image.open(tmp_path / "reference0_labels.png"))
    target = model.encode([Image.open(tmp_path / "targets" / "2.png")])
    label_maps = []
    for strategy in (Direct(model), Sequential(model)):
        strategy.prepare(model.references([picture], [labels]))
        label_maps.append(strategy.predict(target).label_map(0, size=SIZES[2]).numpy())
    assert (label_maps[0] == label_maps[1]).mean() > 0.999
