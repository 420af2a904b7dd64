"""The HF session of SAM2, which takes features and masks from outside and can be made to forget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from strategies.models.tracker import TrackerSession
from strategies.streams.vocabulary import Remembered
from strategies.vocabulary import VisionFeatures


class Sam2Session(TrackerSession):
    """A session whose features are injected, never encoded.

    hf: the session of transformers. Its feature cache holds one frame more than there are, because it evicts the lowest
    index (the first reference) as soon as it is full (DESIGN section 3, trap 9).
    embedding_position: ``[1, h*w, C]``. wide_memory: whether to keep memory as fp32; the network rounds it to bf16, and
    autocast to fp16 joins no bf16 with fp16.
    """

    hf_session: ClassVar[Callable[..., Any]] = Sam2VideoInferenceSession
    """The class of `hf`, of which every family has its own."""
    couples_objects: ClassVar[bool] = True
    """Whether the network encodes the memories of all objects of a frame as labelled ones where one of them is."""

    def __init__(self, network: PreTrainedModel, *, frames: int, embedding_position: Tensor, wide_memory: bool) -> None:
        self._network = network
        self._embedding_position = embedding_position
        self._wide_memory = wide_memory
        self._device = embedding_position.device
        self.hf = self.hf_session(
            inference_device=self._device,
            inference_state_device=self._device,
            video_storage_device=self._device,
            dtype=torch.float32,
            max_vision_features_cache_size=frames + 1,
        )
        self.set_length(frames)

    def inject(self, frame: int, features: VisionFeatures) -> None:
        maps = (features.stride4, features.stride8, features.embedding)
        self.hf.cache.cache_vision_features(
            frame,
            {
                "vision_feats": [level.flatten(2).permute(2, 0, 1) for level in maps],
                "vision_pos_embeds": [self._embedding_position.transpose(0, 1)] * len(maps),
            },
        )

    def condition(self, frame: int, masks: Tensor, object_ids: Sequence[int]) -> None:
        self._add_masks(frame, masks, object_ids)
        self._network(self.hf, frame_idx=frame)
        self._widen_memory()

    def predict(self, frame: int) -> tuple[Tensor, Tensor]:
        output = self._network(self.hf, frame_idx=frame, run_mem_encoder=False)
        self.forget(frame)
        return _of_one_target(output.pred_masks, output.object_score_logits)

    def track(self, frame: int, masks: Tensor | None = None, object_ids: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        if masks is not None:
            self._add_masks(frame, masks, object_ids)
        apart = self.couples_objects and 0 < len(object_ids) < self.hf.get_obj_num()
        output = self._network(
            self.hf, frame=torch.empty(0, device=self._device), frame_idx=frame, run_mem_encoder=not apart
        )
        if apart:
            self._encode_memories_apart(frame, object_ids)
        self._widen_memory()
        return _of_one_target(output.pred_masks, output.object_score_logits)

    def _add_masks(self, frame: int, masks: Tensor, object_ids: Sequence[int]) -> None:
        for mask, object_id in zip(masks.to(self._device, torch.float32), object_ids, strict=True):
            self.hf.add_mask_inputs(self.hf.obj_id_to_idx(object_id), frame, mask[None, None])
        self.hf.obj_with_new_inputs = list(object_ids)

    def _encode_memories_apart(self, frame: int, labelled: Sequence[int]) -> None:
        """Encode the memories of labelled objects in one batch, and those of the others in another.

        In one batch with labelled objects, the network takes the signs of all masks instead of their probabilities.
        """
        for conditioning in (True, False):
            kind = _kind(conditioning)
            chosen = [at for at, each in self.hf._obj_idx_to_id.items() if (each in labelled) == conditioning]
            outputs = [self.hf.output_dict_per_obj[at][kind][frame] for at in chosen]
            self._network._batch_encode_memories(
                inference_session=self.hf,
                frame_idx=frame,
                objects_needing_memory_encoding=chosen,
                high_res_masks_for_memory=[output["high_res_masks"] for output in outputs],
                object_score_logits_for_memory=[output["object_score_logits"] for output in outputs],
                is_mask_from_pts_per_obj=[conditioning] * len(chosen),
            )

    def forget(self, frame: int) -> None:
        for outputs in self.hf.output_dict_per_obj.values():
            outputs["non_cond_frame_outputs"].pop(frame, None)
        for tracked in self.hf.frames_tracked_per_obj.values():
            tracked.pop(frame, None)

    def forget_unseen(self, frame: int) -> None:
        memories, pointers = self._network.num_maskmem, self._network.config.max_object_pointers_in_encoder
        self.forget(frame + 1 - max(memories, pointers))
        self.hf.processed_frames.pop(frame, None)
        for at, kinds in self.hf.output_dict_per_obj.items():
            self.hf.remove_mask_inputs(at, frame)
            for outputs in kinds.values():
                _drop(outputs.get(frame), "pred_masks", "high_res_masks")
            _drop(kinds["non_cond_frame_outputs"].get(frame + 1 - memories), "maskmem_features", "maskmem_pos_enc")

    def remembered(self) -> tuple[Remembered, ...]:
        return tuple(
            Remembered(
                object_id=self.hf.obj_idx_to_id(at),
                frame=frame,
                labelled=conditioning,
                spatial=output["maskmem_features"].flatten(0, 1) if "maskmem_features" in output else None,
                pointer=output["object_pointer"].flatten(),
            )
            for at, kinds in self.hf.output_dict_per_obj.items()
            for conditioning in (True, False)
            for frame, output in kinds[_kind(conditioning)].items()
        )

    def remember(self, frames: Sequence[Remembered]) -> None:
        for at, kinds in self.hf.output_dict_per_obj.items():
            some = next(iter(kinds["cond_frame_outputs"].values()))
            for kind in kinds.values():
                kind.clear()
            for one in frames:
                if one.object_id == self.hf.obj_idx_to_id(at):
                    kinds[_kind(one.labelled)][one.frame] = _output(one, like=some)

    def tensors(self) -> Iterator[Tensor]:
        for features in self.hf.cache._vision_features.values():
            yield from (*features["vision_feats"], *features["vision_pos_embeds"])
        for inputs in self.hf.mask_inputs_per_obj.values():
            yield from inputs.values()
        for kinds in self.hf.output_dict_per_obj.values():
            for outputs in kinds.values():
                for output in outputs.values():
                    yield from (value for value in output.values() if value is not None)

    def drop_features(self) -> None:
        self.hf.cache.clear_all()

    def set_length(self, frames: int) -> None:
        self.hf.processed_frames = dict.fromkeys(range(frames), torch.empty(0))

    def renumber_conditioning_frames(self, first: int) -> None:
        for outputs in self.hf.output_dict_per_obj.values():
            memories = outputs["cond_frame_outputs"].values()
            outputs["cond_frame_outputs"] = dict(enumerate(memories, start=first))

    def _widen_memory(self) -> None:
        if not self._wide_memory:
            return
        for outputs in self.hf.output_dict_per_obj.values():
            for frames in outputs.values():
                for output in frames.values():
                    if "maskmem_features" in output:
                        output["maskmem_features"] = output["maskmem_features"].float()


def _kind(conditioning: bool) -> str:
    """Return the name under which the session keeps the frames of a kind."""
    return "cond_frame_outputs" if conditioning else "non_cond_frame_outputs"


def _drop(output: dict[str, Tensor] | None, *names: str) -> None:
    for name in names:
        if output is not None:
            output.pop(name, None)


def _output(one: Remembered, *, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what the session keeps of a frame, in the shapes of another; memories' positions are always the same."""
    output = {"object_pointer": one.pointer.view_as(like["object_pointer"])}
    if one.spatial is not None:
        output["maskmem_features"] = one.spatial.to(like["maskmem_features"].dtype).view_as(like["maskmem_features"])
        output["maskmem_pos_enc"] = like["maskmem_pos_enc"]
    return output


def _of_one_target(logits: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``[1, O, H, W]`` and ``[1, O]`` of the session's ``[O, 1, H, W]`` and one score an object."""
    return logits.float().transpose(0, 1), scores.float().reshape(1, -1)
