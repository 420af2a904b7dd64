"""What `propagate`, `multi_session` and `extended_session` each do that the others do not.

That the exact ones equal `sequential` is in test_ladder.py, what all strategies promise in
test_strategy_interface.py.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from strategies import (
    ExtendedSession,
    MultiSession,
    Predictions,
    Propagate,
    References,
    Sam2,
    Sequential,
    UserError,
    VisionFeatures,
)
from strategies.models.sam2_session import Sam2Session
from tests.strategies.test_strategy_interface import new_tensor_bytes
from tests.strategies.test_traps import relative_error, session_masks
from tests.support.models import (
    TOLERANCE,
    Pictures,
    assert_same_masks,
    conditioned_session,
    every_family,
    group,
    logit_error,
    masks_of,
    pick,
    score_error,
)


def references_of(
    model: Sam2, pictures: Pictures, *, frames: int = 2, objects: int = 2, absent: tuple[int, int] = (1, 0)
) -> References:
    """absent: a (reference, object) whose mask is empty."""
    present = [[(frame, each) != absent for each in range(objects)] for frame in range(frames)]
    return group(model, pictures, frames=range(frames), present=present, object_ids=(7, 3, 250)[:objects], seed=frames)


def assert_same_bits(actual: Predictions, expected: Predictions) -> None:
    assert torch.equal(actual.logits, expected.logits)
    assert torch.equal(actual.object_scores, expected.object_scores)
    assert torch.equal(actual.ious, expected.ious)


def assert_other_masks(actual: Predictions, expected: Predictions) -> None:
    """Different for every target, by more than an exact strategy may."""
    for index in range(len(expected)):
        one, other = (each[index : index + 1] for each in (actual, expected))
        assert max(logit_error(one, other), score_error(one, other)) > 3 * TOLERANCE, f"target {index}"


# --- propagate -----------------------------------------------------------------------------------------------------


VIDEO = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 2, 5, 8, 11, 14, 3, 6)
"""Pictures that are the targets: more than a session looks back, and more than the span of object pointers."""


@pytest.fixture(scope="module")
def video(model: Sam2, pictures: Pictures) -> VisionFeatures:
    return encoded_alone(model, pictures.pixels[list(VIDEO)])


def encoded_alone(model: Sam2, pixels: Tensor) -> VisionFeatures:
    """Encoded one at a time, as a session does: a batch has other roundings in some families."""
    return VisionFeatures.concatenate([model.encode_pixels(one[None]) for one in pixels])


@pytest.fixture(scope="module")
def as_shipped(model: Sam2, pictures: Pictures) -> tuple[Tensor, Tensor]:
    """Logits ``[T, O, H, W]`` and scores ``[T, O]`` of the video, as a user of transformers gets them."""
    return shipped_masks(model, references_of(model, pictures), pictures.pixels[list(VIDEO)])


def shipped_masks(model: Sam2, references: References, targets: Tensor) -> tuple[Tensor, Tensor]:
    """targets: pixels ``[T, 3, S, S]``."""
    session = model.session.hf_session(
        video=torch.cat([references.pixels, targets]),
        video_height=model.side,
        video_width=model.side,
        dtype=torch.float32,
    )
    for frame, masks in enumerate(references.masks):
        for object_id, mask in zip(references.object_ids, masks, strict=True):
            session.add_mask_inputs(session.obj_id_to_idx(object_id), frame, mask[None, None].float())
        session.obj_with_new_inputs = list(references.object_ids)
        model.network(session, frame_idx=frame)
    frames = list(model.network.propagate_in_video_iterator(session, start_frame_idx=len(references)))
    return (
        torch.stack([frame.pred_masks[:, 0] for frame in frames]),
        torch.stack([frame.object_score_logits.flatten() for frame in frames]),
    )


@pytest.mark.slow
@every_family
@pytest.mark.parametrize("batch", [1, 9, len(VIDEO)])
def test_propagate_gives_what_the_session_as_shipped_gives(
    model: Sam2, pictures: Pictures, video: VisionFeatures, as_shipped: tuple[Tensor, Tensor], batch: int
) -> None:
    references = references_of(model, pictures)
    assert references.pixels is not None
    references = replace(references, features=encoded_alone(model, references.pixels))
    masks = masks_of(Propagate(model), references, video, batch=batch)
    assert torch.equal(masks.logits, as_shipped[0])
    assert torch.equal(masks.object_scores, as_shipped[1])


@pytest.mark.slow
@every_family
def test_propagate_differs_from_sequential(model: Sam2, pictures: Pictures, video: VisionFeatures) -> None:
    assert not Propagate(model).exact
    references = references_of(model, pictures)
    propagated, alone = (masks_of(make(model), references, video) for make in (Propagate, Sequential))
    assert_other_masks(propagated, alone)


@pytest.mark.slow
def test_propagate_remembers_targets_but_its_first_knows_only_the_references(model: Sam2, pictures: Pictures) -> None:
    references = references_of(model, pictures, frames=16)  # pointers have the longest span in either session
    propagated, alone = (masks_of(make(model), references, pictures.targets[:4]) for make in (Propagate, Sequential))
    assert_same_bits(propagated[:1], alone[:1])
    assert_other_masks(propagated[1:], alone[1:])


def test_propagated_masks_depend_on_the_order_of_targets(model: Sam2, pictures: Pictures) -> None:
    references = references_of(model, pictures)
    forward = masks_of(Propagate(model), references, pictures.targets[:4])
    swapped = masks_of(Propagate(model), references, pick(pictures.targets, (0, 2, 1, 3)))
    assert_same_bits(swapped[:1], forward[:1])
    assert_other_masks(swapped[3:], forward[3:])


def test_a_short_video_spreads_its_pointers_otherwise_than_propagate(
    model: Sam2, pictures: Pictures, video: VisionFeatures
) -> None:
    references = references_of(model, pictures)
    _, scores = shipped_masks(model, references, pictures.pixels[list(VIDEO[:3])])
    propagated = masks_of(Propagate(model), references, video[:3])
    assert relative_error(scores, propagated.object_scores) > 10 * TOLERANCE


@pytest.mark.slow
def test_propagate_holds_no_more_after_many_targets(model: Sam2, pictures: Pictures, video: VisionFeatures) -> None:
    with Propagate(model) as strategy:
        strategy.prepare(references_of(model, pictures))
        held = []
        for part in (video[:14], video[14:15], video[15:16], video[16:]):
            strategy.predict(part.clone())
            held.append(new_tensor_bytes())
    assert held[0] < held[1] == held[2] == held[3], "what is 15 frames back is out of sight"


@pytest.mark.slow
@every_family
@pytest.mark.parametrize("targets", [1, 3, 12])
def test_propagates_flops_are_torchs_but_for_the_memory_encoder_and_some_pointers(
    model: Sam2, pictures: Pictures, video: VisionFeatures, targets: int
) -> None:
    with Propagate(model) as strategy, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        strategy.prepare(references_of(model, pictures))
        with FlopCounterMode(display=False) as counter:
            strategy.predict(video[:targets])
        encoder = sum(
            sum(of_module.values())
            for name, of_module in counter.get_flop_counts().items()
            if name.endswith((".memory_encoder", ".spatial_perceiver"))
        )
        counted = counter.get_total_flops() - encoder
        assert encoder > 0
        if targets <= 7:  # no frame is remembered by its pointer alone
            assert strategy.flops(targets) == counted
        assert 0.98 * counted < strategy.flops(targets) <= counted


# --- multi_session -------------------------------------------------------------------------------------------------


def test_each_session_has_a_bank_of_its_own_and_no_more_are_made_than_asked_for(
    model: Sam2, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Sam2Session] = []
    new_session = model.new_session
    monkeypatch.setattr(model, "new_session", lambda *, frames: made.append(new_session(frames=frames)) or made[-1])
    with MultiSession(model, sessions=3) as strategy:
        strategy.prepare(references_of(model, pictures))
        strategy.predict(pictures.targets)
        assert len(made) == 3
        banks = {frame["maskmem_features"].data_ptr() for session in made for frame in conditioning_outputs(session)}
        assert len(banks) == 3 * 2 * 2


def conditioning_outputs(session: Sam2Session) -> list[dict[str, Tensor]]:
    return [
        frame for outputs in session.hf.output_dict_per_obj.values() for frame in outputs["cond_frame_outputs"].values()
    ]


def pool_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("multi_session")}


@contextmanager
def before_each_pass(model: Sam2, act: Callable[[], object]) -> Iterator[None]:
    """Act before memory attention runs for a target and an object, in the thread where it does."""

    def hook(_module: nn.Module, _inputs: tuple[()]) -> None:
        act()

    handle = model.network.memory_attention.register_forward_pre_hook(hook)
    yield
    handle.remove()


def test_sessions_run_at_the_same_time_and_do_not_mix_up_their_results(model: Sam2, pictures: Pictures) -> None:
    references = references_of(model, pictures)
    expected = masks_of(Sequential(model), references, pictures.targets)
    assert expected.picks.unique(dim=0).shape[0] > 1
    meeting = threading.Barrier(3, timeout=60)  # broken, and an error in all threads, unless three arrive together
    with MultiSession(model, sessions=3) as strategy, before_each_pass(model, meeting.wait):
        strategy.prepare(references)
        assert_same_masks(strategy.predict(pictures.targets), expected)


@settings(deadline=None, derandomize=True, max_examples=6)
@given(sessions=st.integers(1, 4), batches=st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_no_more_threads_run_than_sessions_or_targets_and_none_is_left(
    model: Sam2, pictures: Pictures, sessions: int, batches: list[int]
) -> None:
    ran: set[int] = set()
    with before_each_pass(model, lambda: ran.add(threading.get_ident())):
        strategy = MultiSession(model, sessions=sessions)
        strategy.prepare(references_of(model, pictures, objects=1))
        for batch in batches:
            strategy.predict(pictures.targets[:batch])
            assert len(pool_threads()) <= sessions
        assert 1 <= len(ran) <= min(sessions, max(batches))
        assert threading.get_ident() not in ran
        strategy.release()
        assert not pool_threads()


def test_an_error_in_a_thread_comes_out_as_it_was_and_the_group_goes_on(model: Sam2, pictures: Pictures) -> None:
    references = references_of(model, pictures)
    error = LookupError("in the middle of a target")
    passes = iter(range(100))

    def fail_once() -> None:
        if next(passes) == 3:  # of 8: four targets, two objects
            raise error

    with MultiSession(model, sessions=2) as strategy:
        strategy.prepare(references)
        with before_each_pass(model, fail_once), pytest.raises(LookupError) as caught:
            strategy.predict(pictures.targets[:4])
        assert caught.value is error
        masks = strategy.predict(pictures.targets[:4])
    assert_same_masks(masks, masks_of(Sequential(model), references, pictures.targets[:4]))


class Seen(Exception):  # noqa: N818 - not an error
    """Ends a test's forward pass."""


SHORT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory."),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", SHORT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_too_little_memory_for_the_banks_says_how_many_fit(
    model: Sam2, pictures: Pictures, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    made = []
    new_session = model.new_session

    def until_full(*, frames: int) -> Sam2Session:
        if len(made) == 2:
            raise error
        made.append(frames)
        return new_session(frames=frames)

    monkeypatch.setattr(model, "new_session", until_full)
    strategy = MultiSession(model, sessions=5)
    with pytest.raises(torch.OutOfMemoryError, match=r"of sessions=5 only 2 fit into memory.* 2 references") as caught:
        strategy.prepare(references_of(model, pictures))
    assert caught.value.__cause__ is error
    assert strategy.object_ids == ()
    assert not pool_threads()


@pytest.mark.parametrize("error", SHORT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_too_little_memory_for_the_targets_says_so(model: Sam2, pictures: Pictures, error: Exception) -> None:
    def fail() -> None:
        raise error

    with MultiSession(model, sessions=3) as strategy:
        strategy.prepare(references_of(model, pictures))
        with (
            before_each_pass(model, fail),
            pytest.raises(torch.OutOfMemoryError, match="2 sessions at a time ran out of memory") as caught,
        ):
            strategy.predict(pictures.targets[:2])
    assert caught.value.__cause__ is error


def test_cores_are_shared_out_while_a_batch_runs_and_given_back(model: Sam2, pictures: Pictures) -> None:
    cores: set[int] = set()
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with (
            MultiSession(model, sessions=2) as strategy,
            before_each_pass(model, lambda: cores.add(torch.get_num_threads())),
        ):
            strategy.prepare(references_of(model, pictures))
            for targets, share in ((1, 4), (3, 2)):
                cores.clear()
                strategy.predict(pictures.targets[:targets])
                assert cores == {share}
                assert torch.get_num_threads() == 4
                with ThreadPoolExecutor(1) as new_thread:
                    assert new_thread.submit(torch.get_num_threads).result() == 4
    finally:
        torch.set_num_threads(before)


def test_pool_threads_compute_in_the_models_dtype_and_without_gradients(model: Sam2, pictures: Pictures) -> None:
    reduced = Sam2(model.network, name="toy")
    recorded = []

    def record(*_: object) -> None:
        recorded.append(
            (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.is_inference_mode_enabled())
        )
        raise Seen  # before anything is computed, as some CPUs die of bf16

    with MultiSession(reduced, sessions=2) as strategy:
        strategy.prepare(references_of(model, pictures))
        reduced.dtype = "bf16"
        hook = model.network.register_forward_pre_hook(record)
        with pytest.raises(Seen):
            strategy.predict(pictures.targets[:2])
        hook.remove()
    assert recorded == [(True, torch.bfloat16, True)] * 2


# --- extended_session ----------------------------------------------------------------------------------------------

raw = partial(ExtendedSession, positions="raw")


def test_pinned_slots_give_the_bits_of_sequential(model: Sam2, pictures: Pictures) -> None:
    references = references_of(model, pictures, frames=3)
    masks = masks_of(ExtendedSession(model, slots=9), references, pictures.targets, batch=9)
    assert_same_bits(masks, masks_of(Sequential(model), references, pictures.targets))


@pytest.mark.slow
@pytest.mark.parametrize("frames", [3, 9, 17])
def test_pinned_slots_equal_sequential_with_more_references_than_a_session_conditions_on(
    model: Sam2, pictures: Pictures, frames: int
) -> None:
    closest_two = Sam2(copy.deepcopy(model.network), name="toy")
    closest_two.network.config.max_cond_frame_num = 2
    references = references_of(closest_two, pictures, frames=frames)
    expected = masks_of(Sequential(closest_two), references, pictures.targets[:5])
    masks = masks_of(ExtendedSession(closest_two), references, pictures.targets[:5], batch=5)
    assert_same_bits(masks, expected)


def test_raw_positions_are_those_of_a_long_session(model: Sam2, pictures: Pictures) -> None:
    assert ExtendedSession(model).exact
    assert not raw(model).exact
    references = references_of(model, pictures)
    masks = masks_of(raw(model, slots=4), references, pictures.targets[:4])
    for slot in range(4):
        alone = session_masks(model, references, pictures.targets[slot : slot + 1], frame=2 + slot, frames=6)
        assert torch.equal(masks.logits[slot], alone), "slots know nothing of each other"


def test_raw_positions_give_other_masks_and_each_slot_its_own(model: Sam2, pictures: Pictures) -> None:
    references = references_of(model, pictures)
    four = pick(pictures.targets, (0, 0, 0, 0))
    expected = masks_of(Sequential(model), references, four)
    masks = masks_of(raw(model, slots=4), references, four)
    assert_other_masks(masks, expected)
    assert_other_masks(masks[1:], masks[:3])
    pinned = masks_of(ExtendedSession(model, slots=4), references, four)
    assert_same_bits(pinned, expected)


def test_raw_positions_are_the_pinned_ones_in_a_single_slot(model: Sam2, pictures: Pictures) -> None:
    references = references_of(model, pictures)
    masks = masks_of(raw(model, slots=1), references, pictures.targets, batch=9)
    assert_same_bits(masks, masks_of(Sequential(model), references, pictures.targets))


def test_raw_positions_are_the_pinned_ones_in_the_first_slot_after_15_references(
    model: Sam2, pictures: Pictures
) -> None:
    references = references_of(model, pictures, frames=15)
    expected = masks_of(Sequential(model), references, pictures.targets[:3])
    masks = masks_of(raw(model), references, pictures.targets[:3])
    assert_same_bits(masks[:1], expected[:1])
    assert_other_masks(masks[1:], expected[1:])


def test_raw_positions_enter_through_the_encoding_of_pointers_and_nowhere_else(model: Sam2, pictures: Pictures) -> None:
    timeless = Sam2(copy.deepcopy(model.network), name="toy")
    timeless.network.config.enable_temporal_pos_encoding_for_object_pointers = False
    assert raw(timeless).exact
    references = references_of(timeless, pictures)
    expected = masks_of(Sequential(timeless), references, pictures.targets)
    assert_same_bits(masks_of(raw(timeless, slots=9), references, pictures.targets, batch=9), expected)


def test_raw_positions_choose_other_references_where_a_session_conditions_on_the_closest(
    model: Sam2, pictures: Pictures
) -> None:
    closest_two = Sam2(copy.deepcopy(model.network), name="toy")
    config = closest_two.network.config
    config.enable_temporal_pos_encoding_for_object_pointers, config.max_cond_frame_num = False, 2
    assert not raw(closest_two).exact
    references = references_of(closest_two, pictures, frames=6)
    four = pick(pictures.targets, (0, 0, 0, 0))
    masks, expected = (masks_of(make(closest_two), references, four) for make in (raw, Sequential))
    assert_same_bits(masks[:1], expected[:1])
    assert_other_masks(masks[3:], expected[3:])


@pytest.mark.parametrize("make", [ExtendedSession, raw], ids=["pinned", "raw"])
def test_a_large_batch_goes_through_the_slots_in_rounds(
    model: Sam2, pictures: Pictures, make: Callable[..., ExtendedSession]
) -> None:
    references = references_of(model, pictures)
    rounds = masks_of(make(model, slots=4), references, pictures.targets, batch=9)
    batches = masks_of(make(model, slots=4), references, pictures.targets, batch=4)
    assert_same_bits(rounds, batches)


@pytest.mark.slow
def test_slots_let_go_of_the_features_of_their_batch(model: Sam2, pictures: Pictures) -> None:
    with ExtendedSession(model) as strategy:
        strategy.prepare(references_of(model, pictures))
        held = []
        for batch in (1, 8, 9):
            strategy.predict(pictures.targets[:batch].clone())
            held.append(new_tensor_bytes())
    assert held[0] == held[1] == held[2]


def test_a_session_cannot_remember_a_target_that_was_not_encoded(model: Sam2, pictures: Pictures) -> None:
    """Why slots are cleared one by one, with raw positions too."""
    session = conditioned_session(model, references_of(model, pictures), frames=4)
    for frame in (2, 3):
        session.inject(frame, pictures.targets[frame : frame + 1])
    model.network(session.hf, frame_idx=2, run_mem_encoder=False)
    with pytest.raises(KeyError, match="maskmem_features"):
        model.network(session.hf, frame_idx=3, run_mem_encoder=False)


# --- options -------------------------------------------------------------------------------------------------------


def test_numbers_of_sessions_and_slots_must_be_positive(model: Sam2) -> None:
    with pytest.raises(UserError, match="sessions=0 must be at least 1"):
        MultiSession(model, sessions=0)
    with pytest.raises(UserError, match="slots=0 must be at least 1"):
        ExtendedSession(model, slots=0)


def test_unknown_positions_are_answered_with_the_ones_that_exist(model: Sam2) -> None:
    with pytest.raises(UserError, match="positions=free is not known; choose one of pinned, raw"):
        ExtendedSession(model, positions="free")
