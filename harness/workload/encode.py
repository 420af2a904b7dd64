"""The encoder's stage: groups with their vision features, made once and on disk, for all points that share them.

Points run in processes of their own, so the features lie in files: each worker maps what it needs. The features of a
1024 px frame take 17 MB, which is why targets are written chunk by chunk and references are read a group at a time.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from harness.data.group import Frame, Group, evenly
from harness.masks.noise import NoiseFloor, Sample, choose, measure_noise
from harness.options.config import EncodeConfig
from harness.schema import fitted
from harness.store.atomic import write_whole
from harness.workload.counted import Counted, Timed
from harness.workload.encoder_check import check_encoder, flops_of_a_frame, is_standard
from harness.workload.storage import (
    disk_features,
    disk_predictions,
    no_room,
    read_features,
    stored_features,
    stored_predictions,
)
from strategies.components.encoder import Encoder
from strategies.models.tracker import Tracker
from strategies.oracle import Oracle
from strategies.preprocessing import label_map_to_masks
from strategies.vocabulary import Predictions, References, VisionFeatures

Item = TypeVar("Item")

TARGETS = "targets"
"""The folder of a group's targets, in its own."""
FP32_GROUPS = 2
"""Points in reduced precision are certified in fp32 on no more groups."""


def encode_workload(
    model: Tracker, groups: Sequence[Group], *, options: EncodeConfig, folder: Path, compared: int | None = 0
) -> None:
    """Encode all frames of all groups into ``folder``, which a `Workload` then opens.

    A first frame is encoded before the clock starts, to warm up. It tells how much room all will take. An encoder that
    is not the eager one in fp32 is checked against that on the first references.
    compared: the number of objects whose masks will be kept beside the features, to compare with; None for all.
    Raises UserError before the others are encoded where the disk has no room for them, and where the encoder's features
    are farther from those in fp32 than its dtype explains.
    """
    encoder = encoder_of(model, options, batch=options.batch)
    pixels = model.pixels(groups[0].references[0].image())[None]
    need = room_for(groups, like=encoder(pixels), pixels=pixels, compared=compared)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if need > free:
        what = f"{_amount(need)} of features and masks"
        raise no_room(folder, what, cause=f"{_amount(free)} are free")
    checked = None
    if not is_standard(encoder):
        first = torch.stack([model.pixels(frame.image()) for frame in groups[0].references])
        checked = check_encoder(encoder, first, batch=options.batch)
    encode = Timed(encoder)
    began = time.perf_counter()
    for index, group in enumerate(groups):
        _encode_group(encode, group, options=options, folder=folder / str(index))
    frames = sum(len(group.references) + len(group.targets) for group in groups)
    counted = Counted(
        encode_seconds=time.perf_counter() - began,
        encoded_frames=frames,
        network_seconds=encode.seconds,
        flops_per_frame=flops_of_a_frame(model),
        checked=checked,
    )
    write_whole(folder / "encoded.json", json.dumps(asdict(counted)))


def encoder_of(model: Tracker, options: EncodeConfig, *, batch: int) -> Encoder:
    """Return the model's encoder as the options ask for it; batch: frames at once."""
    return Encoder(model, batch=batch, compile=options.compile, channels_last=options.channels_last)


def _amount(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def room_for(groups: Sequence[Group], *, like: VisionFeatures, pixels: Tensor, compared: int | None = 0) -> int:
    """Return the bytes that groups will take on disk.

    like, pixels: one frame's features, and its ``[1, 3, S, S]``. compared: see `encode_workload`.
    """
    frame = sum(level.nbytes for level in vars(like).values())
    logits = like.stride4[0, 0].numel() * 4  # The fp32 logits of a mask have the size of the stride-4 level.
    mask = pixels[0, 0].numel()  # A reference's masks are bool, and as large as the network's pictures.
    return sum(
        len(group.targets) * (frame + logits * len(group.object_ids[:compared]))
        + len(group.references) * (frame + pixels.nbytes + mask * len(group.object_ids))
        for group in groups
    )


@dataclass(frozen=True, kw_only=True)
class EncodedGroup:
    """A group ready for any strategy: ``targets`` are on the CPU, on disk, in the order of ``group.targets``."""

    group: Group
    targets: VisionFeatures
    folder: Path

    def references(self, device: torch.device, objects: int | None = None) -> References:
        """Return the references on ``device``, with the first ``objects`` objects; with all where it is None."""
        stored = torch.load(self.folder / "references.pt", mmap=True, weights_only=True)
        references = References(
            features=VisionFeatures(**stored["features"]).to(device),
            masks=stored["masks"],
            object_ids=self.group.object_ids,
            pixels=stored["pixels"],
        )
        return references if objects is None else references.first_objects(objects)

    def target(self, index: int) -> VisionFeatures:
        """Read one target's features into memory of their own."""
        return read_features(self.folder / TARGETS, index)


def changed(given: References, original: References) -> list[str]:
    """Return in words what of references is no longer as it was."""
    found = [] if same_bits(given.features, original.features) else ["the references' features"]
    for name, mine, theirs in (
        ("masks", given.masks, original.masks),
        ("pictures", given.pixels, original.pixels),
    ):
        if mine is not None and theirs is not None and not _same_bits(mine, theirs):
            found.append(f"the references' {name}")
    return found


def same_bits(given: VisionFeatures | Predictions, original: VisionFeatures | Predictions) -> bool:
    """Return whether features, or predictions of the same objects, are of the same bits.

    They are compared on the CPU where one of them is there, so that the comparison takes nothing of a GPU's memory.
    """
    pairs = ((getattr(given, name), value) for name, value in vars(original).items() if isinstance(value, Tensor))
    return all(_same_bits(mine, theirs) for mine, theirs in pairs)


def _same_bits(mine: Tensor, theirs: Tensor) -> bool:
    """Return whether tensors are of the same bits, so that NaN equals itself."""
    if mine.device != theirs.device:
        mine, theirs = mine.cpu(), theirs.cpu()
    return torch.equal(mine.contiguous().view(torch.uint8), theirs.contiguous().view(torch.uint8))


class Workload:
    """Encoded groups, what `sequential` predicts for them, and its noise floor; each is made when first asked for."""

    def __init__(self, model: Tracker, groups: Sequence[Group], folder: Path) -> None:
        """Open what `encode_workload` wrote into ``folder`` for the same groups."""
        self.model = model
        self.folder = folder
        """The scratch folder, which outlives no run."""
        self.groups = [
            EncodedGroup(
                group=group, targets=stored_features(folder / str(index) / TARGETS), folder=folder / str(index)
            )
            for index, group in enumerate(groups)
        ]
        self.counted = fitted(Counted, json.loads((folder / "encoded.json").read_text(encoding="utf-8")))

    def expected(self, objects: int | None) -> list[Predictions]:
        """Return what `sequential` predicts for every target of every group, for the first ``objects`` objects."""
        stored = self.folder / f"expected-{'all' if objects is None else objects}"
        if not stored.exists():
            partial = Path(tempfile.mkdtemp(dir=self.folder))
            for index, encoded in enumerate(self.groups):
                _predict_to_disk(self.model, encoded, objects, partial / str(index))
            partial.rename(stored)  # A worker that is killed meanwhile leaves nothing that seems whole.
        return [
            stored_predictions(stored / str(index), encoded.group.object_ids[:objects])
            for index, encoded in enumerate(self.groups)
        ]

    def noise_floor(self, objects: int | None) -> NoiseFloor:
        """Return how far `sequential` is from itself on a few of the targets, for the first ``objects`` objects."""
        stored = self.folder / f"noise-{'all' if objects is None else objects}.json"
        if not stored.exists():
            expected = self.expected(objects)
            samples = [self._sample(index, chosen, expected[index]) for index, chosen in choose(expected).items()]
            write_whole(stored, json.dumps(asdict(measure_noise(self.model, samples))))
        return NoiseFloor.from_json(json.loads(stored.read_text(encoding="utf-8")))

    def in_fp32(self, options: EncodeConfig, *, targets: int) -> Workload:
        """Return a workload of so many targets of a few of the groups, of the same network in fp32, eager."""
        stored, model = self.folder / f"fp32-{targets}", self.model.in_dtype("fp32")
        options = replace(options, compile=False, channels_last=False)
        chosen = [encoded.group for encoded in evenly(self.groups, FP32_GROUPS)]
        groups = [replace(group, targets=tuple(evenly(group.targets, targets))) for group in chosen]
        if not stored.exists():
            partial = Path(tempfile.mkdtemp(dir=self.folder))
            encode_workload(model, groups, options=options, folder=partial)
            partial.rename(stored)
        return Workload(model, groups, stored)

    def _sample(self, index: int, chosen: list[int], expected: Predictions) -> Sample:
        encoded, device = self.groups[index], self.model.device
        return Sample(
            references=encoded.references(device, len(expected.object_ids)),
            targets=VisionFeatures.concatenate([encoded.targets[at : at + 1] for at in chosen]).to(device),
            expected=Predictions.concatenate([expected[at : at + 1] for at in chosen]),
        )


def _predict_to_disk(model: Tracker, encoded: EncodedGroup, objects: int | None, folder: Path) -> None:
    stored: Predictions | None = None
    with Oracle(model) as strategy:
        strategy.prepare(encoded.references(model.device, objects))
        for index in range(len(encoded.targets)):
            one = strategy.predict(encoded.targets[index : index + 1].to(model.device))
            if stored is None:
                stored = disk_predictions(folder, one, len(encoded.targets))
            stored[index : index + 1].copy_(one)


def _encode_group(encode: Timed, group: Group, *, options: EncodeConfig, folder: Path) -> None:
    folder.mkdir(parents=True)
    model = encode.encoder.model
    loaded = list(_prefetch(lambda frame: _load_reference(model, frame, group), group.references, options))
    pixels = torch.stack([pixels for pixels, _ in loaded])
    features = VisionFeatures.concatenate([encode(chunk) for chunk in pixels.split(options.batch)])
    stored = {
        "features": dict(vars(features.to("cpu"))),
        "masks": torch.stack([masks for _, masks in loaded]),
        "pixels": pixels,
    }
    _save(stored, folder / "references.pt")
    _encode_targets(encode, group, options, folder / TARGETS)


def _save(content: object, path: Path) -> None:
    try:
        torch.save(content, path)
    except (OSError, RuntimeError) as error:  # A disk that is full is a RuntimeError of torch's.
        raise no_room(path.parent, "the references' features", cause="No space left on device") from error


def _encode_targets(encode: Timed, group: Group, options: EncodeConfig, folder: Path) -> None:
    stored: VisionFeatures | None = None
    start = 0
    pictures = _prefetch(lambda frame: encode.encoder.model.pixels(frame.image()), group.targets, options)
    for pixels in _batched(pictures, options.batch):
        features = encode(torch.stack(pixels))
        if stored is None:
            stored = disk_features(folder, features, len(group.targets))
        stop = start + len(features)
        stored[start:stop].copy_(features)
        start = stop


def _load_reference(model: Tracker, frame: Frame, group: Group) -> tuple[Tensor, Tensor]:
    assert frame.labels is not None
    labels: np.ndarray = frame.labels()
    return model.pixels(frame.image()), label_map_to_masks(labels, group.object_ids, side=model.side)


def _prefetch(load: Callable[[Frame], Item], frames: Sequence[Frame], options: EncodeConfig) -> Iterator[Item]:
    """Yield ``load`` of every frame, in order, from worker threads that stay at most two batches ahead.

    They are threads because decoding and resizing release the interpreter's lock, and because errors keep their type.
    """
    with ThreadPoolExecutor(options.workers) as pool:
        ahead: deque[Future[Item]] = deque()
        for frame in frames:
            ahead.append(pool.submit(load, frame))
            if len(ahead) > 2 * options.batch:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _batched(items: Iterator[Tensor], size: int) -> Iterator[list[Tensor]]:
    batch: list[Tensor] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
