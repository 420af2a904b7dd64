"""What a job's masks are known by again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.job.fingerprint import Fingerprint, check_same, other_weights_of, weights_of
from strategies import Sam2, UserError
from tests.support.models import copied, every_family


@every_family
def test_each_part_of_a_network_is_in_it(model: Sam2) -> None:
    """Also what is no stage of its own: prompt encoder, pointers, times, EdgeTAM's perceiver."""
    changed = copied(model)
    before = weights_of(model), other_weights_of(model)
    assert (weights_of(changed), other_weights_of(changed)) == before
    parts: dict[str, torch.Tensor] = {}
    for name, tensor in changed.network.state_dict().items():
        parts.setdefault(name.partition(".")[0], tensor)
    assert {"vision_encoder", "prompt_encoder", "object_pointer_proj", "memory_attention"} < set(parts)
    for name, tensor in parts.items():
        tensor.add_(1)
        after = weights_of(changed), other_weights_of(changed)
        assert after != before, name
        before = after


@every_family
def test_no_tensor_is_left_out(model: Sam2) -> None:
    stages = vars(model.stage_modules).values()
    told = {tensor.data_ptr() for stage in stages for tensor in stage.state_dict().values()}
    told |= {tensor.data_ptr() for tensor in model.other_weights.values()}
    assert {tensor.data_ptr() for tensor in model.network.state_dict().values()} == told


def test_a_job_from_before_strategies_had_an_option_goes_on_with_what_it_was_made_with(tmp_path: Path) -> None:
    def go_on(strategy: str, **options: str) -> None:
        before = Fingerprint(options={"strategy": strategy}, weights="w", threads=1, groups={})
        now = {"strategy": strategy, **{f"strategy.{name}": value for name, value in options.items()}}
        check_same(before, options=now, weights="w", other_weights="", threads=None, out=tmp_path)

    go_on("sequential")
    go_on("triton", kv="own")
    go_on("direct", kv="own", memory="all", layers="null")
    with pytest.raises(UserError, match=r"strategy.kv was own and is int8"):
        go_on("triton", kv="int8")
