"""One HF inference session under the canonical semantics (DESIGN section 1), for the strategies that drive sessions.

A session of R+1 frames: 0..R-1 are conditioning frames with the references' masks, slot R takes one target after
another and is cleared in between, so that no target remembers another.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.models.sam2 import Sam2
from strategies.vocabulary import Predictions, References, VisionFeatures


class TargetSession:
    """A session conditioned on a group's references, with one slot for targets."""

    def __init__(self, model: Sam2, references: References) -> None:
        model.check_masks(references)  # the network would resize them and predict other masks
        self._model = model
        self._object_ids = references.object_ids
        self._slot = len(references)
        self._session = model.new_session(frames=self._slot + 1)
        for frame in range(self._slot):
            self._condition(references, frame)

    def _condition(self, references: References, frame: int) -> None:
        """Add one reference's masks, then run the model on that frame before the next is added.

        Masks added on several frames at once would condition on the first frame only (DESIGN section 3, trap 1). An
        object that is absent from the reference gets an empty mask, which tells the model that it is not there.
        """
        session = self._session
        self._model.inject(session, frame, references.features[frame : frame + 1])
        masks = references.masks[frame].to(self._model.device, torch.float32)
        for mask, object_id in zip(masks, self._object_ids, strict=True):
            session.add_mask_inputs(session.obj_id_to_idx(object_id), frame, mask[None, None])
        session.obj_with_new_inputs = list(self._object_ids)
        self._model.network(session, frame_idx=frame)

    def predict(self, target: VisionFeatures) -> Predictions:
        """Masks of one target, all objects of the group."""
        self._model.inject(self._session, self._slot, target)
        with _CandidateWatch(self._model) as watch:
            output = self._model.network(self._session, frame_idx=self._slot, run_mem_encoder=False)
        self._clear_slot()
        return Predictions(
            logits=output.pred_masks.float().transpose(0, 1),
            object_scores=output.object_score_logits.float().reshape(1, -1),
            picks=watch.picks()[None],
            object_ids=self._object_ids,
        )

    def _clear_slot(self) -> None:
        for outputs in self._session.output_dict_per_obj.values():
            outputs["non_cond_frame_outputs"].pop(self._slot, None)
        for tracked in self._session.frames_tracked_per_obj.values():
            tracked.pop(self._slot, None)


class _CandidateWatch:
    """Notes which candidate mask the session picks: it keeps the mask but not the choice."""

    def __init__(self, model: Sam2) -> None:
        self._decoder = model.network.mask_decoder
        self._ious: list[Tensor] = []

    def __enter__(self) -> _CandidateWatch:
        self._hook = self._decoder.register_forward_hook(lambda _module, _inputs, output: self._ious.append(output[1]))
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def picks(self) -> Tensor:
        """Int64 ``[O]``: the session decodes its objects one at a time, in order."""
        return torch.cat(self._ious).argmax(dim=-1).flatten()
