"""stream_batched: all objects of all videos in one pass for each step.

How: a pair is an object of a video. Each has a row of memories of its own (`strategies.streams.memories`), and a step
takes all rows through memory attention, mask decoder and memory encoder as one batch. Of `direct` it is the same code,
over one bank for each pair instead of one for each object; layer 0's self-attention, which knows no object, runs once
for each frame. Pairs that have been tracked for a different number of frames see different numbers of memories: then
the missing ones are masked, and once all rings are full there is no mask.

Costs: time = one pass for every ``objects`` pairs. Memory: for each pair, at 1024 px, 0.5 MB for each of 6 spatial
memories and each labelled frame, and 1 kB for each of 15 pointers, however long the video; activations of at most
``objects`` pairs, with K/V of their banks (7 MB a memory).
From: `_run_single_frame_inference` of transformers' SAM2, for all pairs at once. Exact up to float noise, where an
object has at most ``conditioning`` labelled frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from strategies.components.cheaper_memory import CheaperMemory
from strategies.components.chunks import pairs_on
from strategies.components.mask_decoder import decode
from strategies.components.memory_attention import condition_shared
from strategies.components.memory_bank import encode_labelled
from strategies.components.quantised import KV
from strategies.components.stages import MASK_DECODER, MEMORY_ATTENTION, MEMORY_BANK, MEMORY_ENCODER, stage
from strategies.components.two_way import TwoWay
from strategies.errors import UserError
from strategies.models.tracker import Tracker
from strategies.streams.base import StreamStrategy, nothing_predicted
from strategies.streams.kept import kept_bytes
from strategies.streams.memories import Memories, Memory
from strategies.streams.schedule import EMPTY, Numbers, Schedule
from strategies.streams.visible import Visible
from strategies.streams.vocabulary import Labels, Remembered, StreamFrame
from strategies.vocabulary import Predictions, VisionFeatures

LABELLED_FRAMES = 15
"""The labelled frames that are kept of an object, as many as there are pointers of tracked ones."""


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """Pairs of one step: their rows, the number of each one's frame, and which of the step's frames that is."""

    rows: Numbers
    numbers: Numbers
    frames: Numbers

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: slice) -> _Pairs:
        return _Pairs(rows=self.rows[chosen], numbers=self.numbers[chosen], frames=self.frames[chosen])


class StreamBatched(StreamStrategy):
    """Pairs in batches; see the module's docstring.

    objects: pairs that go through the network at once; None for as many as suit the device. memory_frames: how many
    spatial memories a frame sees where one frame is labelled, as the network counts them; None for the
    network's own number, 7. More than that have the temporal position of the oldest that it knows. stride: how many
    frames lie between memories, but for the newest. conditioning: the labelled frames that are kept of an object, the
    newest; None for all.

    Approximations, of which none is exact (`strategies.components.cheaper_memory`): memory: how memories are read. kv:
    rounded to how many bits, to see what masks lose. layers: of memory attention, the first so many; None for all.
    """

    exact_where = "an object has no more labelled frames than are kept, and memories are the network's own"

    def __init__(
        self,
        model: Tracker,
        *,
        videos: int | None = None,
        objects: int | None = None,
        memory_frames: int | None = None,
        stride: int = 1,
        conditioning: int | None = LABELLED_FRAMES,
        memory: str = "all",
        kv: KV = "own",
        layers: int | None = None,
    ) -> None:
        super().__init__(model, videos=videos)
        dimensions = model.dimensions
        own = dimensions.recent_memories + 1
        for option, value in (
            ("objects", objects),
            ("memory_frames", memory_frames),
            ("stride", stride),
            ("conditioning", conditioning),
        ):
            if value is not None and value < 1:
                raise UserError(f"{option}={value} must be at least 1")
        self._cheaper = CheaperMemory.of(dimensions, memory=memory, kv=kv, layers=layers)
        own_memories = memory_frames in (None, own) and stride == 1
        self.exact = self.exact and own_memories and self._cheaper.exact
        reading = self._cheaper.reading
        memories, last = (memory_frames or own) - 1, reading.only("last")
        self._schedule = Schedule(
            memories=memories if last is None else min(memories, int(last)),
            stride=stride,
            conditioning=dimensions.conditioning_frames,
            pointers=dimensions.recent_pointers,
        )
        self._objects = objects
        self._conditioning = conditioning
        self._two_way = TwoWay(model)
        self._visible = Visible(model, self._schedule, decay=reading.only("decay") or 0.0)
        self._release()

    @property
    def pairs_at_once(self) -> int:
        if self._objects is not None:
            return self._objects
        dimensions = self.model.dimensions
        memories = self._schedule.memories + 1
        tokens = memories * dimensions.memory_tokens + 2 * self._schedule.pointers * dimensions.pointer_tokens
        return pairs_on(self.model.device, dimensions, copied_tokens=tokens)

    # --- a step ------------------------------------------------------------------------------------------------

    def _step(self, frames: Mapping[str, StreamFrame], labels: Mapping[str, Labels | None]) -> dict[str, Predictions]:
        features = VisionFeatures.concatenate([frame.features for frame in frames.values()])
        tracked = {video: self._tracked(video, labels[video]) for video in frames}
        masks = self._track(features, self._pairs(frames, tracked)) if any(tracked.values()) else None
        self._condition(features, frames, labels)
        predictions, start = {}, 0
        for video, frame in frames.items():
            ids = tracked[video]
            if masks is None or not ids:
                predictions[video] = nothing_predicted(frame.features, self.model)
                continue
            chosen = slice(start, start + len(ids))
            start += len(ids)
            logits, scores, ious = (values[None, chosen] for values in masks)
            predictions[video] = Predictions(logits=logits, object_scores=scores, ious=ious, object_ids=ids)
        return predictions

    def _pairs(self, frames: Mapping[str, StreamFrame], objects: Mapping[str, Sequence[int]]) -> _Pairs:
        chosen = [
            (self._rows[video, each], frame.number, at)
            for at, (video, frame) in enumerate(frames.items())
            for each in objects[video]
        ]
        rows, numbers, places = np.array(chosen, dtype=np.int64).T
        return _Pairs(rows=rows, numbers=numbers, frames=places)

    def _track(self, features: VisionFeatures, pairs: _Pairs) -> tuple[Tensor, Tensor, Tensor]:
        """Predict pairs and remember what they show; returns logits ``[P, H, W]``, scores and predicted IoUs."""
        at_once = self.pairs_at_once
        parts = [self._track_at_once(features, pairs[at : at + at_once]) for at in range(0, len(pairs), at_once)]
        logits, scores, ious = (torch.cat(part).float() for part in zip(*parts, strict=True))
        return logits, scores, ious

    def _track_at_once(self, features: VisionFeatures, pairs: _Pairs) -> tuple[Tensor, Tensor, Tensor]:
        frame_of_pair = torch.from_numpy(pairs.frames).to(self.model.device)
        with stage(MEMORY_ATTENTION):
            seen = self._visible.bank(self._memories, pairs.rows, pairs.numbers)
            bank = self._cheaper.projected(self.model, seen)
            conditioned = condition_shared(self.model, features.embedding, bank, target_of_object=frame_of_pair)
        with stage(MASK_DECODER):
            of_pairs = features[frame_of_pair]
            decoded = decode(self.model, self._two_way, conditioned, of_pairs, objects=1)
        logits, scores, ious = decoded.logits[0], decoded.scores[0], decoded.ious[0]
        with stage(MEMORY_ENCODER):
            present = (scores > 0)[:, None]
            memory = Memory(
                spatial=self.model.tracked_memory(of_pairs.embedding, logits, present),
                pointers=self.model.object_pointers(decoded.candidates.best(decoded.candidates.mask_tokens), present),
            )
            self._memories.track(pairs.rows, pairs.numbers, memory)
        return logits, scores, ious

    def _condition(
        self, features: VisionFeatures, frames: Mapping[str, StreamFrame], labels: Mapping[str, Labels | None]
    ) -> None:
        """Remember the labels of the step's frames."""
        given = {video: label for video, label in labels.items() if label is not None}
        if not given:
            return
        labelled = [(video, each) for video, label in given.items() for each in label.object_ids]
        new = [pair for pair in labelled if pair not in self._rows]
        self._rows.update(zip(new, self._memories.take(len(new)), strict=True))
        pairs = self._pairs(frames, {video: given[video].object_ids if video in given else () for video in frames})
        masks = torch.cat([given[video].masks for video in frames if video in given])
        with stage(MEMORY_BANK):
            for at in range(0, len(pairs), self.pairs_at_once):
                part = pairs[at : at + self.pairs_at_once]
                embedding = features.embedding[torch.from_numpy(part.frames).to(self.model.device)]
                spatial, pointers = encode_labelled(self.model, embedding, masks[at : at + len(part), None])
                self._memories.condition(part.rows, part.numbers, Memory(spatial=spatial, pointers=pointers))

    # --- what is kept ------------------------------------------------------------------------------------------

    def _finish(self, video: str) -> None:
        gone = [pair for pair in self._rows if pair[0] == video]
        self._memories.free(np.array([self._rows.pop(pair) for pair in gone], dtype=np.int64))

    def _release(self) -> None:
        self._rows: dict[tuple[str, int], int] = {}
        self._memories = Memories(self.model, self._schedule, labelled=self._conditioning)

    @property
    def state_bytes(self) -> int:
        return kept_bytes((self._memories.spatial.values, self._memories.pointers.values))

    def _remembered(self, video: str) -> tuple[Remembered, ...]:
        kept = []
        for object_id in self.objects(video):
            row = self._rows[video, object_id]
            spatial, pointers = self._memories.spatial, self._memories.pointers
            places = {int(frame): at for at, frame in enumerate(spatial.frames[row])}
            for at, frame in enumerate(pointers.frames[row]):
                if frame != EMPTY:
                    memory = spatial.values[row, places[int(frame)]] if int(frame) in places else None
                    kept.append(
                        Remembered(
                            object_id=object_id,
                            frame=int(frame),
                            labelled=at >= pointers.tracked,
                            spatial=memory,
                            pointer=pointers.values[row, at],
                        )
                    )
        return tuple(kept)

    def _remember(self, video: str, frames: Sequence[Remembered]) -> None:
        self._memories.clear(np.array([self._rows[video, each] for each in self.objects(video)], dtype=np.int64))
        for one in sorted(frames, key=lambda each: each.frame):
            row, number = (np.array([value]) for value in (self._rows[video, one.object_id], one.frame))
            if one.spatial is None:
                self._memories.track_pointers(row, number, one.pointer[None])
                continue
            memory = Memory(spatial=one.spatial[None], pointers=one.pointer[None])
            (self._memories.condition if one.labelled else self._memories.track)(row, number, memory)
