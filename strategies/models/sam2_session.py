"""The HF session of SAM2, which takes features and masks from outside and can be made to forget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from strategies.models.tracker import TrackerSession
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
        for mask, object_id in zip(masks.to(self._device, torch.float32), object_ids, strict=True):
            self.hf.add_mask_inputs(self.hf.obj_id_to_idx(object_id), frame, mask[None, None])
        self.hf.obj_with_new_inputs = list(object_ids)
        self._network(self.hf, frame_idx=frame)
        self._widen_memory()

    def predict(self, frame: int) -> tuple[Tensor, Tensor]:
        output = self._network(self.hf, frame_idx=frame, run_mem_encoder=False)
        self.forget(frame)
        return _of_one_target(output.pred_masks, output.object_score_logits)

    def track(self, frame: int) -> tuple[Tensor, Tensor]:
        output = self._network(self.hf, frame=torch.empty(0, device=self._device), frame_idx=frame)
        self._widen_memory()
        return _of_one_target(output.pred_masks, output.object_score_logits)

    def forget(self, frame: int) -> None:
        for outputs in self.hf.output_dict_per_obj.values():
            outputs["non_cond_frame_outputs"].pop(frame, None)
        for tracked in self.hf.frames_tracked_per_obj.values():
            tracked.pop(frame, None)

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
                    output["maskmem_features"] = output["maskmem_features"].float()


def _of_one_target(logits: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``[1, O, H, W]`` and ``[1, O]`` of the session's ``[O, 1, H, W]`` and one score an object."""
    return logits.float().transpose(0, 1), scores.float().reshape(1, -1)
