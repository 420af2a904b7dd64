"""Encoders are held to the eager one in fp32, by limits above a measured noise floor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.data.synthetic import synthetic_groups
from harness.masks.rule import ROUNDOFF
from harness.options.config import EncodeConfig
from harness.workload.encode import Workload, encode_workload
from harness.workload.encoder_check import Distance, Fp32, check_encoder, flops_of_a_frame, is_standard
from strategies import Sam2, VisionFeatures
from strategies.components.encoder import Encoder
from strategies.errors import UserError
from strategies.models.loading import load_model
from tests.support.harness_runs import TINY, complaint, only_run, run_here, strict_json, summary
from tests.support.models import SAM2_TOY, TWINS, Pictures
from tests.support.pictures import assert_one_sentence

Spoil = Callable[[VisionFeatures], VisionFeatures]


def first(model: Sam2, pictures: Pictures) -> Fp32:
    return Fp32(model, pictures.pixels[:2])


def times(share: float) -> Spoil:
    return lambda features: VisionFeatures(**{name: level * share for name, level in vars(features).items()})


def one_wrong_value(features: VisionFeatures) -> VisionFeatures:
    embedding = features.embedding.clone()
    embedding[-1, 0, 0, 0] += 0.01 * embedding.abs().max()
    return replace(features, embedding=embedding)


def swapped(features: VisionFeatures) -> VisionFeatures:
    return VisionFeatures(**{name: level.flip(0) for name, level in vars(features).items()})


def not_finite(features: VisionFeatures) -> VisionFeatures:
    return replace(features, stride4=features.stride4.clone().index_fill_(0, torch.tensor(0), float("nan")))


def compiled_into(monkeypatch: pytest.MonkeyPatch, spoil: Spoil) -> None:
    """From here on, what is compiled is the encoder with a fault."""

    def compiled(function: Callable[[Tensor], VisionFeatures], **_: Any) -> Callable[[Tensor], VisionFeatures]:
        return lambda pixels: spoil(function(pixels))

    monkeypatch.setattr("strategies.components.encoder.compiled", compiled)


# --- the rule ------------------------------------------------------------------------------------------------------


def test_features_are_no_distance_from_themselves(model: Sam2, pictures: Pictures) -> None:
    features = model.encode_pixels(pictures.pixels[:1])
    assert Distance.between(features, features) == Distance(largest=0, rms=0)


@pytest.mark.slow
def test_the_floor_is_about_the_roundoff_of_the_dtype_and_the_same_each_time(model: Sam2, pictures: Pictures) -> None:
    right = first(model, pictures)
    for dtype in ("fp32", "fp16", "bf16"):
        floor = right.floor(dtype)
        assert floor == first(model, pictures).floor(dtype)
        for share in (floor.largest, floor.rms):
            assert ROUNDOFF[dtype] / 4 < share < 100 * ROUNDOFF[dtype]
    assert not any(module._forward_hooks for module in model.network.vision_encoder.modules()), "noise is over"


def test_only_the_eager_encoder_in_fp32_is_what_others_are_compared_with(model: Sam2) -> None:
    assert is_standard(Encoder(model, batch=2))
    assert not is_standard(Encoder(model, batch=2, channels_last=True))
    assert not is_standard(Encoder(Sam2(model.network, name="toy", dtype="bf16"), batch=2))


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_channels_last_is_as_near_as_fp32_allows(model: Sam2, pictures: Pictures, batch: int) -> None:
    checked = check_encoder(Encoder(model, batch=batch, channels_last=True), pictures.pixels, batch=batch)
    assert checked.fault is None
    assert checked.distance.rms <= checked.limit.rms


@pytest.mark.parametrize("spoil", [times(1.0001), one_wrong_value, swapped, not_finite])
def test_an_encoder_that_is_further_away_is_refused(
    model: Sam2, pictures: Pictures, monkeypatch: pytest.MonkeyPatch, spoil: Spoil
) -> None:
    compiled_into(monkeypatch, spoil)
    with pytest.raises(UserError) as error:
        check_encoder(Encoder(model, batch=4, compile=True), pictures.pixels, batch=4)
    assert_one_sentence(error.value, "encode.compile=true", "dtype=fp32", "rounding explains")


def test_what_rounding_to_a_dtype_does_is_within_its_limit_and_beyond_that_of_a_finer_one(
    model: Sam2, pictures: Pictures
) -> None:
    right = first(model, pictures)
    for dtype, kind in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        rounded = VisionFeatures(
            **{name: level.to(kind).float() for name, level in vars(model.encode_pixels(pictures.pixels[:2])).items()}
        )
        assert right.check(rounded, dtype=dtype).fault is None
        assert right.check(rounded, dtype="fp32").fault is not None


def test_flops_are_counted_and_grow_with_nothing_but_the_frame(model: Sam2) -> None:
    """The toy's encoder: at least its first convolution, and the same each time."""
    projection = model.network.vision_encoder.backbone.patch_embed.projection
    outputs = (model.side // projection.stride[0]) ** 2
    assert flops_of_a_frame(model) == flops_of_a_frame(model) > 2 * outputs * projection.weight.numel()


@pytest.mark.parametrize("name", [SAM2_TOY, *TWINS])
def test_a_model_that_has_encoded_nothing_but_to_be_counted_encodes_as_any_other(name: str) -> None:
    """Encoders keep the positions of a size that they have seen, for the next picture of it."""
    counted, other = load_model(name, device="cpu"), load_model(name, device="cpu")
    pixels = torch.rand(1, 3, other.side, other.side, generator=torch.Generator().manual_seed(3))
    flops_of_a_frame(counted)
    for level, same in zip(
        vars(counted.encode_pixels(pixels)).values(), vars(other.encode_pixels(pixels)).values(), strict=True
    ):
        assert type(level) is Tensor
        assert torch.allclose(level, same, rtol=1e-4, atol=1e-5)


# --- in a stage and in a sweep ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_workload_tells_what_its_encoder_took_and_how_near_it_is(
    model: Sam2, tmp_path: Path, channels_last: bool
) -> None:
    groups = synthetic_groups(count=1, references=2, targets=3, objects=2, size=(64, 96), seed=7)
    encode_workload(
        model, groups, options=EncodeConfig(batch=2, workers=1, channels_last=channels_last), folder=tmp_path
    )
    counted = Workload(model, groups, tmp_path).counted
    assert 0 < counted.network_seconds <= counted.encode_seconds
    assert (counted.checked is None) == (not channels_last)
    assert counted.matrix_share(1e15) == pytest.approx(2 * counted.matrix_share(2e15))
    assert counted.matrix_share(1.0) == 1


@pytest.mark.slow
def test_a_sweep_of_encoders_says_which_was_which(tmp_path: Path) -> None:
    ended = run_here(tmp_path, "strategy=direct", "batch=2", "encode.channels_last=false,true", *TINY)
    assert ended.returncode == 0
    run = only_run(tmp_path / "results")
    rows = {row["options"]: row for row in summary(run)}
    assert [row["status"] for row in rows.values()] == ["ok", "ok"]
    named = {"encode.channels_last=true" in options: row["point"] for options, row in rows.items()}
    for channels_last, point in named.items():
        found = strict_json(run / "points" / f"{point}.json")["details"]["encoder"]
        assert found["matrix_share"] > 0
        assert (found["checked"] is not None) == channels_last


@pytest.mark.slow
def test_a_sweep_whose_encoder_is_wrong_measures_nothing_with_it_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled_into(monkeypatch, times(1.01))
    ended = run_here(tmp_path, "strategy=direct", "batch=2", "encode.compile=true,false", *TINY)
    assert ended.returncode == 2
    assert "encode.compile=true" in complaint(ended.stderr.splitlines(keepends=True)[-1])
    rows = {"encode.compile=true" in row["options"]: row for row in summary(only_run(tmp_path / "results"))}
    assert rows[False]["status"] == "ok"
    assert rows[True]["status"] == "skipped"
    assert "rounding explains" in rows[True]["reason"]
    assert not rows[True]["fps"]
