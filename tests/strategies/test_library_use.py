"""Using `strategies` as a library, the way a README shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data.synthetic import synthetic_groups
from strategies import Direct, Sam2, Sequential, UserError

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


# --- mistakes in what is given ---------------------------------------------------------------------------------------


def labelled(*values: int, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    """A label map of columns, one for each value."""
    return np.repeat(np.array(values, dtype=np.uint8), size[1] // len(values))[None].repeat(size[0], axis=0)


def mistake(model: Sam2, pictures: int, label_maps: list[np.ndarray], object_ids: tuple[int, ...] | None = None) -> str:
    """The sentence that references of black pictures end in, half of them PIL's."""
    images = [np.zeros((40, 60, 3), dtype=np.uint8) if index % 2 else Image.new("RGB", (60, 40)) for index in range(2)]
    with pytest.raises(UserError) as error:
        model.references(images[:pictures], label_maps, object_ids)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_references_without_a_picture_are_refused(model: Sam2) -> None:
    assert "images holds no picture" in mistake(model, 0, [])


def test_every_picture_needs_its_label_map(model: Sam2) -> None:
    assert "images holds 2 pictures and label_maps holds 1" in mistake(model, 2, [labelled(0, 1)])


@pytest.mark.parametrize("shape", [(60, 40), (40, 60, 3), (20, 30)])
@pytest.mark.parametrize("wrong", [0, 1])
def test_a_label_map_of_another_size_than_its_picture_is_named(model: Sam2, wrong: int, shape: tuple[int, ...]) -> None:
    label_maps = [labelled(0, 1), labelled(0, 1)]
    label_maps[wrong] = np.ones(shape, dtype=np.uint8)
    sentence = mistake(model, 2, label_maps)
    assert f"label_maps[{wrong}] has shape {shape}" in sentence
    assert f"images[{wrong}] has height and width (40, 60)" in sentence


def test_a_label_map_of_fractions_is_named(model: Sam2) -> None:
    sentence = mistake(model, 2, [labelled(0, 1), labelled(0, 1) / 2])
    assert "label_maps[1] holds float64: give integers" in sentence


def test_label_maps_of_background_and_void_hold_no_object(model: Sam2) -> None:
    assert "hold no object" in mistake(model, 1, [labelled(0, 255)])


def test_ids_that_no_label_map_holds_are_named_with_those_that_are_there(model: Sam2) -> None:
    sentence = mistake(model, 2, [labelled(0, 7), labelled(7, 12, 255)], (7, 3, 12, 9))
    assert "no label map holds 3, 9" in sentence
    assert "(the label maps hold 7, 12)" in sentence


@pytest.mark.parametrize("object_ids", [(0, 7), (7, -1), (7, 7)])
def test_ids_must_be_positive_and_different(model: Sam2, object_ids: tuple[int, ...]) -> None:
    sentence = mistake(model, 1, [labelled(0, 7)], object_ids)
    assert f"object_ids={object_ids} must be different numbers from 1 on" in sentence


def test_an_id_may_be_absent_from_one_of_the_references(model: Sam2) -> None:
    images = [Image.new("RGB", (60, 40))] * 2
    references = model.references(images, [labelled(0, 7), labelled(0, 3)], (7, 3))
    assert references.masks.flatten(2).any(-1).tolist() == [[True, False], [False, True]]
