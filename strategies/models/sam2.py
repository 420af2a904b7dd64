"""Adapter of the HF SAM2 video model: what strategies need of it, and the constants they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession, Sam2VideoModel

from strategies.errors import UnavailableError, UserError
from strategies.preprocessing import image_to_pixels, label_map_to_masks
from strategies.vocabulary import VOID, References, VisionFeatures

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What tensors of matrix products hold; tf32 is fp32 of which a GPU's matrix units read 10 bits of the mantissa."""

TF32_CAPABILITY = (8, 0)


def check_dtype(dtype: str) -> None:
    if dtype not in DTYPES:
        raise UserError(f"dtype={dtype} is not known; choose one of {', '.join(DTYPES)}")


def _check_tf32(device: torch.device) -> None:
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < TF32_CAPABILITY:
        raise UnavailableError(
            f"dtype=tf32 needs a CUDA GPU of compute capability 8.0 or more, which {device} is not: use dtype=fp32"
        )


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    """Whether products and convolutions of fp32 tensors may use TF32 on CUDA GPUs; a setting of the whole process."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


class Sam2:
    """A SAM2 video model on one device, computing in one dtype.

    Weights stay fp32; bf16 and fp16 work through autocast, which keeps normalisations and the rotary encoding in fp32
    and is more accurate than converting the weights (DESIGN section 3, trap 7). fp32 is fp32: TF32, which torch allows
    for convolutions by default, is used with dtype tf32 and no other.
    """

    def __init__(self, network: Sam2VideoModel, *, name: str, device: str = "cpu", dtype: str = "fp32") -> None:
        check_dtype(dtype)
        if not network._use_multimask(False, None):
            raise UserError(
                f"model {name} tracks with a single mask; only models that pick the best of three are served"
            )
        self.name = name
        self.device = torch.device(device)
        if dtype == "tf32":
            _check_tf32(self.device)
        self.dtype = dtype
        self.network = network.to(self.device)
        self.embedding_position = self._embedding_position()
        """``[1, h*w, C]``: the neck's sine encoding of the image embedding, the same for every frame."""
        self.memory_position = self._memory_position()
        """``[h*w, 64]``: the memory encoder's sine encoding, the same for every memory."""
        self.rotary = self._rotary()
        """cos and sin ``[h*w, d]`` of memory attention's axial rotary encoding."""
        self.image_position = self._image_position()
        """``[1, C, h, w]``: the mask decoder's dense position encoding."""

    @property
    def side(self) -> int:
        """Pixels along each side of the square input."""
        return self.network.image_size

    def check_masks(self, references: References) -> None:
        """Raise ValueError where the masks are not of the model's square."""
        if references.masks.shape[-2:] != (self.side, self.side):
            raise ValueError(
                f"the references' masks are {tuple(references.masks.shape[-2:])}, but {self.name} takes them at "
                f"{self.side} x {self.side}: use preprocessing.label_map_to_masks(..., side=model.side)"
            )

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Inference mode and the model's dtype; every strategy computes under it."""
        dtype = DTYPES[self.dtype]
        reduced = dtype != torch.float32
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype, enabled=reduced),
            _tf32(self.dtype == "tf32"),
        ):
            yield

    # --- from pictures -----------------------------------------------------------------------------------------

    def encode(self, images: Sequence[Image.Image | np.ndarray]) -> VisionFeatures:
        """Features of pictures of any size."""
        return self.encode_pixels(torch.stack([image_to_pixels(image, side=self.side) for image in images]))

    def encode_pixels(self, pixels: Tensor) -> VisionFeatures:
        """Features of normalised ``[N, 3, S, S]``."""
        with self.computing():
            return self.vision_features(pixels.to(self.device, non_blocking=True))

    def vision_features(self, pixels: Tensor) -> VisionFeatures:
        """As `encode_pixels`, within the caller's gradient and autocast modes."""
        maps = self.network.get_image_features(pixels, return_dict=True).fpn_hidden_states
        stride4, stride8, embedding = (
            level.permute(1, 2, 0).unflatten(2, tuple(size))
            for level, size in zip(maps, self.network.backbone_feature_sizes, strict=True)
        )
        return VisionFeatures(embedding=embedding, stride4=stride4, stride8=stride8)

    def references(
        self,
        images: Sequence[Image.Image | np.ndarray],
        label_maps: Sequence[np.ndarray],
        object_ids: tuple[int, ...] | None = None,
    ) -> References:
        """Labelled pictures as references.

        label_maps: integers ``[height, width]``, 0 for background, else the object's id (`VOID` is none).
        object_ids: which objects to use, in which order; all ids that occur, ascending, where it is not given.
        Raises UserError where pictures, label maps and ids do not belong together.
        """
        _check_pairs(images, label_maps)
        found = {int(value) for label_map in label_maps for value in np.unique(label_map)}
        if object_ids is None:
            object_ids = tuple(sorted(found - {0, VOID}))
        _check_object_ids(object_ids, found)
        pixels = torch.stack([image_to_pixels(image, side=self.side) for image in images])
        masks = [label_map_to_masks(label_map, object_ids, side=self.side) for label_map in label_maps]
        return References(
            features=self.encode_pixels(pixels),
            masks=torch.stack(masks),
            object_ids=object_ids,
            pixels=pixels,
        )

    # --- the session, as shipped -------------------------------------------------------------------------------

    def new_session(self, *, frames: int) -> Sam2VideoInferenceSession:
        """An empty session of ``frames`` frames whose features are injected, never encoded.

        The feature cache holds one frame more than there are, because it evicts the lowest index (the first
        reference) as soon as it is full (DESIGN section 3, trap 9).
        """
        session = Sam2VideoInferenceSession(
            inference_device=self.device,
            inference_state_device=self.device,
            video_storage_device=self.device,
            dtype=torch.float32,
            max_vision_features_cache_size=frames + 1,
        )
        session.processed_frames = dict.fromkeys(range(frames), torch.empty(0))
        return session

    def inject(self, session: Sam2VideoInferenceSession, frame: int, features: VisionFeatures) -> None:
        """Put one frame's features into the session's cache."""
        maps = (features.stride4, features.stride8, features.embedding)
        session.cache.cache_vision_features(
            frame,
            {
                "vision_feats": [level.flatten(2).permute(2, 0, 1) for level in maps],
                "vision_pos_embeds": [self.embedding_position.transpose(0, 1)] * len(maps),
            },
        )

    # --- constants of the model --------------------------------------------------------------------------------

    @property
    def pointers_in_memory(self) -> bool:
        """Whether object pointers enter memory attention as tokens."""
        return self.network.config.max_object_pointers_in_encoder > 0

    @torch.no_grad()
    def _embedding_position(self) -> Tensor:
        size = self.network.backbone_feature_sizes[-1]
        encoding = self.network.vision_encoder.neck.position_encoding
        position = encoding(torch.Size((1, self.network.hidden_dim, *size)), self.device, torch.float32)
        return position.flatten(2).transpose(1, 2)

    @torch.no_grad()
    def _memory_position(self) -> Tensor:
        size = self.network.backbone_feature_sizes[-1]
        encoding = self.network.memory_encoder.position_encoding
        position = encoding(torch.Size((1, self.network.mem_dim, *size)), self.device, torch.float32)
        return position.flatten(2)[0].T

    @torch.no_grad()
    def _rotary(self) -> tuple[Tensor, Tensor]:
        attention = self.network.memory_attention
        cos, sin = attention.rotary_emb(self.embedding_position, attention.position_ids)
        return cos.flatten(0, -2), sin.flatten(0, -2)

    @torch.no_grad()
    def _image_position(self) -> Tensor:
        return self.network.get_image_wide_positional_embeddings()

    @property
    def no_prompt_tokens(self) -> Tensor:
        """``[1, 1, 2, C]``: the prompt encoder's answer to "no prompt", one empty point and its padding."""
        return self.network.prompt_encoder.not_a_point_embed.weight.expand(1, 1, 2, -1)

    @property
    def no_prompt_dense(self) -> Tensor:
        """``[1, C, 1, 1]``: the dense half of the same answer."""
        return self.network.prompt_encoder.no_mask_embed.weight[..., None, None]


def _check_pairs(images: Sequence[Image.Image | np.ndarray], label_maps: Sequence[np.ndarray]) -> None:
    if len(images) == 0:
        raise UserError("images holds no picture: give at least one, with its label map")
    if len(images) != len(label_maps):
        raise UserError(
            f"images holds {len(images)} pictures and label_maps holds {len(label_maps)}: give one for each picture"
        )
    for index, (image, label_map) in enumerate(zip(images, label_maps, strict=True)):
        size = (image.height, image.width) if isinstance(image, Image.Image) else image.shape[:2]
        if label_map.shape != size:
            raise UserError(
                f"label_maps[{index}] has shape {label_map.shape}, but its picture images[{index}] has height and "
                f"width {size}: give one integer for each pixel of the picture"
            )
        if label_map.dtype.kind not in "biu":
            raise UserError(f"label_maps[{index}] holds {label_map.dtype}: give integers, 0 for background")


def _check_object_ids(object_ids: tuple[int, ...], found: set[int]) -> None:
    if not object_ids:
        raise UserError("the reference masks hold no object: paint each object with its id, 1 to 254")
    if min(object_ids) < 1 or len(set(object_ids)) != len(object_ids):
        raise UserError(f"object_ids={object_ids} must be different numbers from 1 on; 0 is the background")
    absent = [object_id for object_id in object_ids if object_id not in found]
    if absent:
        there = ", ".join(map(str, sorted(found - {0, VOID}))) or "none"
        raise UserError(
            f"object_ids={object_ids}: no label map holds {', '.join(map(str, absent))}; leave out what no reference "
            f"shows (the label maps hold {there})"
        )
