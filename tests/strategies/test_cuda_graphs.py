"""`direct` as CUDA graphs, and the padding that gives all batches one size: no mask changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from strategies import Direct, Sam2, Sequential
from strategies.components.cuda_graphs import Graphs, Recorded
from strategies.components.static_shapes import Outputs, Padded
from strategies.vocabulary import VisionFeatures
from tests.support.direct import every_bank, needs_cuda, references, refusal
from tests.support.models import TOKENS, Pictures, assert_same_masks, masks_of

BATCH = 4


def numbered(count: int) -> VisionFeatures:
    """Features that tell which target they are of, laid out in memory as an encoder leaves them: targets last."""
    levels = [torch.arange(float(count)).repeat(4, 1).T.reshape(count, 1, 2, 2).permute(1, 2, 3, 0) for _ in range(3)]
    embedding, stride4, stride8 = (level.contiguous().permute(3, 0, 1, 2) for level in levels)
    return VisionFeatures(embedding=embedding, stride4=stride4, stride8=stride8)


def outputs_of(targets: VisionFeatures, objects: slice) -> Outputs:
    shown = targets.embedding[:, 0, 0, :1] + 100 * torch.arange(objects.start, objects.stop)
    return shown[..., None, None], shown, shown[..., None]


def test_batches_are_padded_to_the_largest_so_far_and_the_padding_is_cut_off() -> None:
    sizes = []

    def chunk(targets: VisionFeatures, objects: slice) -> Outputs:
        sizes.append(len(targets))
        assert targets.embedding.is_contiguous()
        assert targets.stride4.is_contiguous()
        assert targets.stride8.is_contiguous()
        return outputs_of(targets, objects)

    padded = Padded(chunk)
    for count in (2, 4, 4, 1, 3):
        logits, scores, ious = padded(numbered(count), slice(1, 3))
        assert scores.tolist() == [[100.0 + target, 200.0 + target] for target in range(count)]
        assert logits.shape == (count, 2, 1, 1)
        assert ious.shape == (count, 2, 1)
    assert sizes == [2, 4, 4, 4, 4]


class Tape:
    """Records as a CUDA graph does: its outputs always lie in the same memory, and come from the recorded inputs."""

    def __init__(self) -> None:
        self.recorded = 0

    def __call__(self, work: Callable[[], Outputs]) -> Recorded:
        self.recorded += 1
        outputs = work()

        def replay() -> None:
            for place, value in zip(outputs, work(), strict=True):
                place.copy_(value)

        return Recorded(replay=replay, outputs=outputs)


def test_a_graph_is_recorded_for_each_shape_and_replayed_on_new_inputs() -> None:
    tape = Tape()
    graphs = Graphs(outputs_of, tape)
    kept = []
    for first in range(3):
        for objects in (slice(0, 2), slice(2, 3)):
            targets = numbered(5)[first : first + 2]
            kept.append((graphs(targets, objects), outputs_of(targets, objects)))
    assert tape.recorded == 2
    graphs(numbered(3), slice(0, 2))
    assert tape.recorded == 3
    for given, expected in kept:  # outputs of before have not been overwritten
        assert all(torch.equal(one, other) for one, other in zip(given, expected, strict=True))


@pytest.mark.slow
@every_bank
def test_masks_of_recorded_and_padded_chunks_are_those_of_sequential(
    model: Sam2, pictures: Pictures, monkeypatch: pytest.MonkeyPatch, bank: str
) -> None:
    tapes = []

    def recorder(device: torch.device) -> Tape:
        tapes.append(Tape())
        return tapes[-1]

    monkeypatch.setattr("strategies.direct.CudaRecorder", recorder)
    direct = Direct(model, bank=bank, cuda_graphs=True, chunk_tokens=6 * TOKENS)
    for seed, objects in [(0, 2), (1, 2), (2, 1)]:
        asked = references(model, pictures, objects=objects, seed=seed)
        expected = masks_of(Sequential(model), asked, pictures.targets)
        assert_same_masks(masks_of(direct, asked, pictures.targets, batch=7), expected)
    (tape,) = tapes
    assert tape.recorded == 3, "one for each group, however its batches and chunks end"


# --- on a GPU --------------------------------------------------------------------------------------------------------


def test_cuda_graphs_need_a_cuda_device(model: Sam2) -> None:
    sentence = refusal(lambda: Direct(model, cuda_graphs=True))
    assert "cuda_graphs=true needs a CUDA GPU, and the model is on cpu" in sentence


@needs_cuda
@pytest.mark.compiler
@every_bank
@pytest.mark.parametrize("compile", [False, True])
def test_cuda_graphs_change_no_mask(cuda_model: Sam2, cuda_pictures: Pictures, bank: str, compile: bool) -> None:
    direct = Direct(cuda_model, bank=bank, cuda_graphs=True, compile=compile)
    for seed in range(3):
        asked = references(cuda_model, cuda_pictures, seed=seed)
        expected = masks_of(Sequential(cuda_model), asked, cuda_pictures.targets)
        assert_same_masks(masks_of(direct, asked, cuda_pictures.targets, batch=BATCH), expected)


@needs_cuda
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_a_graph_in_reduced_precision_outlives_the_casts_it_was_recorded_with(
    cuda_model: Sam2, cuda_pictures: Pictures, dtype: str
) -> None:
    reduced = Sam2(cuda_model.network, name="toy", device="cuda", dtype=dtype)
    asked = references(reduced, cuda_pictures)
    expected = masks_of(Direct(reduced), asked, cuda_pictures.targets)
    with Direct(reduced, cuda_graphs=True) as direct:
        direct.prepare(asked)
        direct.predict(cuda_pictures.targets)
        del_me = [torch.full((256, 256), float("nan"), device="cuda") for _ in range(64)]
        again = direct.predict(cuda_pictures.targets)
    assert len(del_me) == 64
    assert_same_masks(again, expected)


@needs_cuda
def test_released_graphs_leave_no_memory_behind(cuda_model: Sam2, cuda_pictures: Pictures) -> None:
    direct = Direct(cuda_model, cuda_graphs=True)
    asked = references(cuda_model, cuda_pictures)
    held = []
    for _ in range(3):
        masks_of(direct, asked, cuda_pictures.targets)
        torch.cuda.empty_cache()
        held.append(torch.cuda.memory_reserved())
    assert held[2] <= held[0]
