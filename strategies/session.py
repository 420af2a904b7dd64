"""HF inference sessions conditioned on a group's references, for the strategies that drive sessions.

Frames 0..R-1 of a session are conditioning frames with the references' masks; targets go into the frames after them.
`TargetSession` is the canonical one (DESIGN section 1): R+1 frames, whose last takes one target after another and is
cleared in between, so that no target remembers another.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from strategies.components.stages import MEMORY_BANK, stage
from strategies.models.sam2 import Sam2
from strategies.vocabulary import Predictions, References, VisionFeatures


class ConditionedSession:
    """A session of ``frames`` frames, at least R of them, that has seen a group's references.

    hf: the HF session itself, for what a strategy does differently.
    """

    def __init__(self, model: Sam2, references: References, *, frames: int) -> None:
        model.check_masks(references)  # the network would resize them and predict other masks
        self._model = model
        self._object_ids = references.object_ids
        self.hf = model.new_session(frames=frames)
        with stage(MEMORY_BANK):
            for frame in range(len(references)):
                self._condition(references, frame)

    def _condition(self, references: References, frame: int) -> None:
        """Add one reference's masks, then run the model on that frame before the next is added.

        Masks added on several frames at once would condition on the first frame only (DESIGN section 3, trap 1). An
        object that is absent from the reference gets an empty mask, which tells the model that it is not there.
        """
        session = self.hf
        self._model.inject(session, frame, references.features[frame : frame + 1])
        masks = references.masks[frame].to(self._model.device, torch.float32)
        for mask, object_id in zip(masks, self._object_ids, strict=True):
            session.add_mask_inputs(session.obj_id_to_idx(object_id), frame, mask[None, None])
        session.obj_with_new_inputs = list(self._object_ids)
        self._model.network(session, frame_idx=frame)
        self._widen_memory()

    def put(self, frame: int, target: VisionFeatures) -> None:
        """Put one target's features into a frame."""
        self._model.inject(self.hf, frame, target)

    def predict(self, frame: int, watch: CandidateWatch) -> Predictions:
        """Masks of the target in that frame, all objects; the session remembers nothing of them."""
        watch.start()
        output = self._model.network(self.hf, frame_idx=frame, run_mem_encoder=False)
        self.forget(frame)
        return self._predictions(output.pred_masks, output.object_score_logits, watch)

    def track(self, frame: int, watch: CandidateWatch) -> Predictions:
        """As `predict`, but the session remembers the masks, and later frames see them.

        The frame is announced as one of a stream, so that a session needs not know how many will come.
        """
        watch.start()
        output = self._model.network(self.hf, frame=torch.empty(0, device=self._model.device), frame_idx=frame)
        self._widen_memory()
        return self._predictions(output.pred_masks, output.object_score_logits, watch)

    def forget(self, frame: int) -> None:
        """Drop what the session remembers of a target; harmless where it remembers none there."""
        for outputs in self.hf.output_dict_per_obj.values():
            outputs["non_cond_frame_outputs"].pop(frame, None)
        for tracked in self.hf.frames_tracked_per_obj.values():
            tracked.pop(frame, None)

    def _widen_memory(self) -> None:
        """In fp16, keep memory as fp32: the network rounds it to bf16, and autocast joins no bf16 with fp16."""
        if self._model.dtype != "fp16":
            return
        for outputs in self.hf.output_dict_per_obj.values():
            for frames in outputs.values():
                for output in frames.values():
                    output["maskmem_features"] = output["maskmem_features"].float()

    def _predictions(self, logits: Tensor, scores: Tensor, watch: CandidateWatch) -> Predictions:
        return Predictions(
            logits=logits.float().transpose(0, 1),
            object_scores=scores.float().reshape(1, -1),
            ious=watch.ious()[None],
            object_ids=self._object_ids,
        )


class TargetSession:
    """A session under the canonical semantics, with one slot for targets."""

    def __init__(self, model: Sam2, references: References) -> None:
        self._model = model
        self._slot = len(references)
        self._session = ConditionedSession(model, references, frames=self._slot + 1)

    def predict(self, target: VisionFeatures, watch: CandidateWatch | None = None) -> Predictions:
        """Masks of one target, all objects of the group; watch: one that is entered already, else one of its own."""
        if watch is None:
            with CandidateWatch(self._model) as own:
                return self.predict(target, own)
        self._session.put(self._slot, target)
        return self._session.predict(self._slot, watch)


class CandidateWatch:
    """Notes the predicted IoUs by which a session picks a candidate mask: it keeps the mask alone.

    The decoder is shared by all sessions of a model, so each thread's notes are its own; and as torch takes no lock
    when hooks change, one watch serves all threads of a batch: enter it before they start and leave it after they end.
    """

    def __init__(self, model: Sam2) -> None:
        self._decoder = model.network.mask_decoder
        self._of_thread = threading.local()

    def __enter__(self) -> CandidateWatch:
        self._hook = self._decoder.register_forward_hook(lambda _module, _inputs, output: self._note(output[1]))
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def _note(self, ious: Tensor) -> None:
        notes = getattr(self._of_thread, "ious", None)
        if notes is not None:  # else a thread that watches for itself, or not at all
            notes.append(ious)

    def start(self) -> None:
        """Begin anew in this thread."""
        self._of_thread.ious = []

    def ious(self) -> Tensor:
        """fp32 ``[O, K]`` of this thread since its start: a session decodes its objects one at a time, in order."""
        return torch.cat(self._of_thread.ious).flatten(0, 1).float()
