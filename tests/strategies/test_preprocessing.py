"""Pictures and masks reach the model as HF's processor and session would give them, to the bit."""

from __future__ import annotations

import platform
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import Sam2VideoProcessor
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from strategies import Sam2
from strategies.preprocessing import image_to_pixels, label_map_to_masks
from tests.support.hf_processor import SIDE, SIZES, STORED, drawn, processed

LARGE = ((480, 854), (1500, 2000), (160, 160), (1024, 1024))


def pixels_of(picture: np.ndarray | Image.Image, side: int) -> Tensor:
    return image_to_pixels(picture, side=side, mean=Sam2.pixel_mean, std=Sam2.pixel_std)


# --- pictures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIZES)
def test_pixels_are_those_that_the_processor_made(name: str) -> None:
    with np.load(STORED) as stored:
        made = torch.from_numpy(stored[name])
    assert made.unique().numel() > 50, "it is a picture"
    assert torch.equal(pixels_of(drawn(*SIZES[name]), SIDE), made)


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT" and platform.machine() in ("x86_64", "AMD64"),
    reason="HF resizes in floating point there",
)
@pytest.mark.parametrize("side", [SIDE, 128, 1024])
def test_pixels_are_those_that_the_processor_makes(side: int) -> None:
    """Of pictures from `drawn` and of noise, by the real processor, where torchvision is."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # A build for another torch raises RuntimeError.
        pytest.skip("torchvision can't be imported")
    for size in (*SIZES.values(), *LARGE):
        noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        for picture in (drawn(*size), noise):
            assert torch.equal(pixels_of(picture, side), processed(picture, side=side)), size


def test_a_picture_is_resized_in_steps_of_one_level_before_it_is_normalised() -> None:
    """In floating point all the way, what lies between two levels would stay there."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (Sam2.pixel_mean, Sam2.pixel_std))
    levels = (pixels_of(drawn(300, 170), 128) * std + mean) * 255
    assert (levels - levels.round()).abs().max() < 1e-4
    assert levels.min() > -1e-4
    assert levels.max() < 255 + 1e-4


def test_pillow_pictures_and_arrays_give_the_same_pixels_in_the_order_that_networks_read() -> None:
    picture = drawn(90, 50)
    of_array = pixels_of(picture, 128)
    assert torch.equal(pixels_of(Image.fromarray(picture), 128), of_array)
    assert of_array.is_contiguous()
    assert pixels_of(drawn(128, 128), 128).is_contiguous()


def test_the_picture_that_was_given_stays_as_it_is() -> None:
    for size in ((90, 50), (128, 128)):
        picture = drawn(*size)
        pixels_of(picture, 128)
        assert np.array_equal(picture, drawn(*size))


# --- masks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(48, 85), (90, 50), (128, 128), (7, 700), (480, 854)])
def test_masks_are_those_that_the_session_keeps_of_what_a_user_hands_it(size: tuple[int, int]) -> None:
    """Shapes, lines and single pixels, of several objects at once, beside each other and absent."""
    ids = tuple(range(1, 7))
    height, width = size
    y, x = np.mgrid[:height, :width]
    labels = (1 + (4 * x // width) + (y // 5) % 2).astype(np.uint8)
    labels[:: max(2, height // 9)] = 0
    labels[np.random.default_rng(0).random(size) < 0.05] = 2

    ours = label_map_to_masks(labels, ids, side=128)
    assert torch.equal(ours, kept_by_session([labels == identity for identity in ids], side=128))
    assert ours[:5].flatten(1).any(1).all()
    assert not ours[5].any(), "no pixel has this id"


def kept_by_session(masks: list[np.ndarray], *, side: int) -> Tensor:
    """The masks that HF's session remembers of one frame, by the processor's method, which needs only the size."""
    session = Sam2VideoInferenceSession(dtype=torch.float32)
    ids = list(range(len(masks)))
    Sam2VideoProcessor.process_new_mask_for_video_frame(SimpleNamespace(target_size=side), session, 0, ids, masks)
    return torch.stack([session.mask_inputs_per_obj[index][0][0, 0] for index in ids]).bool()
