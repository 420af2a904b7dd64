"""What tests of the traps, and of strategies that walk into none, share."""

from __future__ import annotations

from torch import Tensor

from strategies import References, Sam2, VisionFeatures
from tests.support.models import Pictures, conditioned_session, copied, group, track


def two_references(model: Sam2, pictures: Pictures, *, seed: int = 0) -> References:
    return group(model, pictures, frames=(0, 1), present=[[True, True]] * 2, object_ids=(7, 3), seed=seed)


def session_masks(model: Sam2, references: References, target: VisionFeatures, *, frame: int, frames: int) -> Tensor:
    return track(model, conditioned_session(model, references, frames=frames), target, frame=frame)


def gates_opened(model: Sam2) -> Sam2:
    """A copy that sees every object everywhere."""
    open_to_all = copied(model)
    open_to_all.network.mask_decoder.pred_obj_score_head.proj_out.bias.add_(10)
    return open_to_all


def repeated(features: VisionFeatures, times: int) -> dict[str, Tensor]:
    names = ("embedding", "stride4", "stride8")
    return {name: getattr(features, name).repeat(times, 1, 1, 1) for name in names}


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).abs().max() / expected.abs().max())
