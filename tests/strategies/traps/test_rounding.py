"""Traps 6 and 7: what rounding flips, and where a session rounds."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from harness.masks.agreement import AgreementMeter
from strategies import Sam2, Sequential
from strategies.components.memory_bank import build_memory_bank
from tests.support.models import TOKENS, Pictures, conditioned_session, group, masks_of
from tests.support.traps import two_references


@pytest.mark.slow
def test_trap_6_rounding_flips_gates_and_picks_and_a_flip_is_no_small_difference(
    model: Sam2, pictures: Pictures
) -> None:
    """Naive code compares by the largest difference, by which the strategy is broken.

    The rounding is of eight bits, which flips several picks on every kind of CPU; whether bf16 flips one is chance.
    """
    references = group(model, pictures, frames=range(4), present=[[True] * 5] * 4, seed=1)
    expected = masks_of(Sequential(model), references, pictures.targets)
    coarse = masks_of(Sequential(rounding(model)), references, pictures.targets)
    gates = (expected.object_scores > 0) != (coarse.object_scores > 0)
    picks = expected.picks != coarse.picks
    both_open = (expected.object_scores > 0) & (coarse.object_scores > 0)
    difference = (coarse.logits - expected.logits).abs().amax(dim=(2, 3))
    assert picks[both_open].any()
    assert difference[picks & both_open].min() > 3 * difference[~picks & both_open].max()
    assert (coarse.logits[coarse.object_scores <= 0] == -1024).all()

    meter = AgreementMeter()
    meter.update("group", expected, coarse)
    agreed = meter.result()
    assert agreed is not None
    assert (agreed.gate_flips, agreed.pick_flips) == (int(gates.sum()), int(picks.sum()))
    assert agreed.max_abs_dlogit == difference[both_open].max()
    alike = both_open & ~picks
    relative = difference[alike] / expected.logits.abs().amax(dim=(2, 3))[alike]
    assert agreed.differences.logits.largest == pytest.approx(float(relative.max()))


def rounding(model: Sam2) -> Sam2:
    """A copy that rounds what each linear layer makes to three bits of mantissa, on any CPU."""
    network = copy.deepcopy(model.network)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda _module, _inputs, output: output.to(torch.float8_e4m3fn).float())
    return Sam2(network, name="toy")


def test_trap_7_a_session_stores_memory_in_bf16_although_it_computes_in_fp32(model: Sam2, pictures: Pictures) -> None:
    references = two_references(model, pictures).first_objects(1)
    session = conditioned_session(model, references, frames=3)
    stored = session.hf.output_dict_per_obj[0]["cond_frame_outputs"][0]["maskmem_features"]
    assert stored.dtype == torch.bfloat16

    with model.computing():
        naive, _ = model.network.memory_encoder(
            references.features.embedding[:1], references.masks[:1].float() * 20.0 - 10.0
        )
        ours = build_memory_bank(model, references).memory[0, :TOKENS]
    naive = naive.flatten(2)[0].T
    assert (naive != stored[:, 0].float()).float().mean() > 0.9, "unrounded memory is another memory"
    assert torch.equal(ours, ours.to(torch.bfloat16).float())
    assert (ours != stored[:, 0].float()).float().mean() < 1e-3
