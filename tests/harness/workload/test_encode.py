"""The encoder's stage: features on disk are the model's, pictures are read a little ahead, errors come through."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.data.group import Frame, Group
from harness.data.synthetic import synthetic_groups
from harness.masks.noise import PAIRS
from harness.options.config import EncodeConfig
from harness.workload.encode import Workload, encode_workload, room_for
from strategies import Sam2, Sequential, VisionFeatures
from strategies.errors import UserError
from tests.support.models import assert_same_masks, masks_of

CPU = torch.device("cpu")
RELATIVE = 1e-5
"""How far features of one frame, computed in batches of different sizes, may differ, relative to the largest."""


def drawn(*, groups: int = 1, targets: int = 5) -> list[Group]:
    return synthetic_groups(count=groups, references=2, targets=targets, objects=2, size=(64, 96), seed=7)


def encoded(
    model: Sam2, folder: Path, groups: list[Group] | None = None, *, batch: int = 2, workers: int = 2
) -> Workload:
    groups = groups or drawn()
    encode_workload(model, groups, options=EncodeConfig(batch=batch, workers=workers), folder=folder)
    return Workload(model, groups, folder)


def levels(features: VisionFeatures) -> dict[str, Tensor]:
    return {"embedding": features.embedding, "stride4": features.stride4, "stride8": features.stride8}


def assert_same_features(actual: VisionFeatures, expected: VisionFeatures) -> None:
    assert len(actual) == len(expected)
    for name, level in levels(expected).items():
        difference = (levels(actual)[name] - level).abs().max() / level.abs().max()
        assert float(difference) <= RELATIVE, name


def directly(model: Sam2, frames: tuple[Frame, ...]) -> VisionFeatures:
    return model.encode_pixels(torch.stack([model.pixels(frame.image()) for frame in frames]))


@pytest.fixture(scope="module")
def workload(model: Sam2, tmp_path_factory: pytest.TempPathFactory) -> Workload:
    return encoded(model, tmp_path_factory.mktemp("features"), drawn(groups=2))


# --- features ------------------------------------------------------------------------------------------------------


def test_features_on_disk_are_those_of_the_model_in_the_order_of_the_targets(model: Sam2, workload: Workload) -> None:
    for group in workload.groups:
        assert_same_features(group.targets, directly(model, group.group.targets))
        last = len(group.targets) - 1
        assert_same_features(group.target(last), group.targets[last:])


def test_references_have_their_features_their_masks_and_their_pixels(model: Sam2, workload: Workload) -> None:
    for one in workload.groups:
        references, frames = one.references(CPU), one.group.references
        images, labels = [frame.image() for frame in frames], [frame.labels() for frame in frames if frame.labels]
        expected = model.references(images, labels, object_ids=one.group.object_ids)
        assert_same_features(references.features, expected.features)
        assert references.object_ids == expected.object_ids == (1, 2)
        assert torch.equal(references.masks, expected.masks)
        assert references.pixels is not None
        assert references.pixels.shape == (2, 3, model.side, model.side)


@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (3, 3), (64, 1)])
def test_the_batch_of_the_encoder_does_not_matter(
    model: Sam2, workload: Workload, tmp_path: Path, batch: int, workers: int
) -> None:
    other = encoded(model, tmp_path, batch=batch, workers=workers)
    assert_same_features(other.groups[0].targets, workload.groups[0].targets)
    assert_same_features(other.groups[0].references(CPU).features, workload.groups[0].references(CPU).features)


def test_targets_are_on_disk_and_may_be_sliced_like_tensors(model: Sam2, tmp_path: Path) -> None:
    (group,) = encoded(model, tmp_path).groups
    names = levels(group.targets)
    bytes_on_disk = sum(path.stat().st_size for path in tmp_path.rglob("targets/*") if path.name in names)
    assert bytes_on_disk == sum(level.nbytes for level in levels(group.targets).values())
    assert torch.equal(group.targets[3:5].embedding[1], group.targets.embedding[4])


def test_a_workload_counts_its_frames_and_its_seconds(workload: Workload) -> None:
    assert workload.counted.encoded_frames == 2 * (2 + 5)
    assert workload.counted.encode_seconds > 0


# --- what they are compared with -----------------------------------------------------------------------------------


@pytest.mark.parametrize("objects", [None, 1])
def test_the_masks_to_agree_with_are_those_of_sequential(model: Sam2, workload: Workload, objects: int | None) -> None:
    for one, stored in zip(workload.groups, workload.expected(objects), strict=True):
        assert_same_masks(stored, masks_of(Sequential(model), one.references(CPU, objects), one.targets))


def test_who_opens_the_workload_later_finds_them_made(model: Sam2, tmp_path: Path) -> None:
    first = encoded(model, tmp_path)
    (made,) = first.expected(1)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = Workload(model, [one.group for one in first.groups], tmp_path)
    assert_same_masks(again.expected(1)[0], made)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == written


def test_masks_half_made_by_a_worker_that_died_are_made_again(
    model: Sam2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload = encoded(model, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Sequential, "_predict", interrupted)
        with pytest.raises(KeyboardInterrupt):
            workload.expected(1)
    (made,) = workload.expected(1)
    assert_same_masks(
        made, masks_of(Sequential(model), workload.groups[0].references(CPU, 1), workload.groups[0].targets)
    )


@pytest.mark.slow
def test_the_noise_floor_is_made_once_for_each_number_of_objects(
    model: Sam2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload = encoded(model, tmp_path)
    floor = workload.noise_floor(1)
    assert floor.dtype == "fp32"
    assert PAIRS <= floor.pairs <= 4 * PAIRS, "at most four targets of one object, two draws at a time"
    assert workload.noise_floor(None) != floor
    monkeypatch.setattr("harness.workload.encode.measure_noise", interrupted)
    assert Workload(model, [one.group for one in workload.groups], tmp_path).noise_floor(1) == floor
    monkeypatch.setattr("harness.workload.encode.choose", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encoded(model, tmp_path / "other").noise_floor(1)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_references_may_be_limited_to_the_first_objects(workload: Workload) -> None:
    every = workload.groups[0].references(CPU)
    first = workload.groups[0].references(CPU, 1)
    assert (every.object_ids, first.object_ids) == ((1, 2), (1,))
    assert torch.equal(first.masks[:, 0], every.masks[:, 0])


# --- reading -------------------------------------------------------------------------------------------------------


def with_targets(image_of: Callable[[int], np.ndarray], count: int) -> Group:
    """Draw a group whose targets' pictures come from ``image_of``."""
    (group,) = drawn(targets=1)
    return Group(
        name=group.name,
        object_ids=group.object_ids,
        references=group.references,
        targets=tuple(Frame(name=str(index), image=partial(image_of, index)) for index in range(count)),
    )


@pytest.mark.parametrize("broken", [0, 4])
def test_an_error_of_a_loading_thread_comes_out_as_it_was(model: Sam2, tmp_path: Path, broken: int) -> None:
    error = UserError(f"frame {broken} can't be read")

    def image(index: int) -> np.ndarray:
        if index == broken:
            raise error
        return np.full((32, 32, 3), index, dtype=np.uint8)

    with pytest.raises(UserError) as raised:
        encoded(model, tmp_path, [with_targets(image, 5)])
    assert raised.value is error


class Meter:
    """Counts pictures that were asked for and not yet encoded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.read: list[int] = []
        self.encoded = 0
        self.most_waiting = 0

    def image(self, index: int) -> np.ndarray:
        with self._lock:
            self.read.append(index)
            self.most_waiting = max(self.most_waiting, len(self.read) - self.encoded)
        return np.full((32, 32, 3), index, dtype=np.uint8)

    def counting(self, encode: Callable[[Tensor], VisionFeatures]) -> Callable[[Tensor], VisionFeatures]:
        def encode_and_count(pixels: Tensor) -> VisionFeatures:
            features = encode(pixels)
            with self._lock:
                self.encoded += len(features)
            return features

        return encode_and_count


def test_pictures_are_read_once_and_never_far_ahead(
    model: Sam2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter, batch, count = Meter(), 2, 30
    group = with_targets(meter.image, count)
    monkeypatch.setattr(model, "encode_pixels", meter.counting(model.encode_pixels))
    meter.encoded = -len(group.references) - 1  # References are encoded too, the first one twice, and do not count.
    encoded(model, tmp_path, [group], batch=batch)
    assert sorted(meter.read) == list(range(count))
    assert meter.encoded == count
    assert meter.most_waiting <= 3 * batch + 1, "one batch in the encoder and two ahead"


def test_a_full_tmpdir_is_one_sentence(model: Sam2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:626] . PytorchStreamWriter failed writing file data/1")

    monkeypatch.setattr("harness.workload.encode.torch.save", full)
    with pytest.raises(UserError, match=r"has no room for the references' features .* point TMPDIR to a larger disk"):
        encode_workload(model, drawn(), options=EncodeConfig(batch=2, workers=1), folder=tmp_path)


# --- room on disk --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objects", [None, 1])
def test_the_room_that_a_workload_takes_is_known_before(model: Sam2, tmp_path: Path, objects: int | None) -> None:
    groups = drawn(groups=2)
    pixels = model.pixels(groups[0].references[0].image())[None]
    need = room_for(groups, like=model.encode_pixels(pixels), pixels=pixels, compared=objects)
    encoded(model, tmp_path, groups).expected(objects)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) == pytest.approx(need, rel=0.05)


def test_a_disk_without_room_is_found_before_anything_is_encoded(
    model: Sam2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = drawn()
    pixels = model.pixels(groups[0].references[0].image())[None]
    need = room_for(groups, like=model.encode_pixels(pixels), pixels=pixels)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=need - 1))
    with pytest.raises(UserError, match=r"has no room for .* MB are free\); lower targets= or data.groups="):
        encoded(model, tmp_path / "features", groups)
    assert list((tmp_path / "features").iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=need))
    encoded(model, tmp_path / "features", groups)
