"""The interface of a model to strategies, whichever family it is of.

Strategies, components, kernels and the harness know `Tracker` and `TrackerSession` alone. What a network calls its
parts and how it prepares masks, pointers and memories is the affair of its family's adapter (`strategies.models.sam2`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from strategies.labelled import check_object_ids, check_pairs
from strategies.models.dimensions import Dimensions
from strategies.models.modules import MaskDecoder, MemoryAttention, MemoryAttentionLayer
from strategies.models.precision import check_dtype, computing_in
from strategies.preprocessing import Channels, image_to_pixels, label_map_to_masks
from strategies.streams.vocabulary import Remembered
from strategies.vocabulary import VOID, References, VisionFeatures


@dataclass(frozen=True, kw_only=True)
class StageModules:
    """The network's modules that do the work of a stage, by the stage's name."""

    vision_encoder: nn.Module
    memory_encoder: nn.Module
    memory_attention: nn.Module
    mask_decoder: nn.Module


class TrackerSession(ABC):
    """An inference session of the network's own library, whose frames are numbered and get their features from outside.

    Frames with masks are conditioning frames; the others are targets.
    """

    @abstractmethod
    def inject(self, frame: int, features: VisionFeatures) -> None:
        """Put the features of one picture into a frame."""

    @abstractmethod
    def condition(self, frame: int, masks: Tensor, object_ids: Sequence[int]) -> None:
        """Give a frame its masks, bool ``[O, S, S]``, and let the network make its memory before the next gets any.

        Masks added on several frames at once would condition on the first frame only (DESIGN section 3, trap 1). An
        empty mask shows the network that the object is absent.
        """

    @abstractmethod
    def predict(self, frame: int) -> tuple[Tensor, Tensor]:
        """Predict a frame's logits, fp32 ``[1, O, H, W]``, and object scores, ``[1, O]``, without remembering them."""

    @abstractmethod
    def track(self, frame: int, masks: Tensor | None = None, object_ids: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        """Predict as `predict` does, but remember the masks, so that later frames see them.

        The frame is announced as one of a stream, so that a session needs not know how many will come.

        masks: bool ``[N, S, S]``, of the objects that are labelled on this frame, new ones among them. They are
        remembered as they are; what comes back for them is no prediction. No object's memory depends on whether
        another is labelled there (DESIGN section 3, trap 13).
        """

    @abstractmethod
    def forget(self, frame: int) -> None:
        """Drop what the session remembers of a target; harmless where it remembers none there."""

    @abstractmethod
    def forget_unseen(self, frame: int) -> None:
        """Drop whatever no frame after this one can see, of a stream in which it is the newest."""

    @abstractmethod
    def remembered(self) -> tuple[Remembered, ...]:
        """Return what the session remembers of each object and frame."""

    @abstractmethod
    def remember(self, frames: Sequence[Remembered]) -> None:
        """Replace what the session remembers of its objects."""

    @abstractmethod
    def tensors(self) -> Iterator[Tensor]:
        """Yield every tensor that the session keeps."""

    @abstractmethod
    def drop_features(self) -> None:
        """Drop the features of every frame; memories stay."""

    @abstractmethod
    def set_length(self, frames: int) -> None:
        """Let the network believe that the session has so many frames, which is what it relates times to."""

    @abstractmethod
    def renumber_conditioning_frames(self, first: int) -> None:
        """Make the conditioning frames the consecutive ones from ``first`` on, in their order."""


class Tracker(ABC):
    """A network that segments targets by its memory of labelled references, on one device, computing in one dtype.

    bf16 and fp16 work through autocast, which keeps normalisations and the rotary encoding in fp32 and is more accurate
    than converting all weights (DESIGN section 3, trap 7). The weights that autocast would cast at every use are cast
    once, beside the fp32 ones that are kept (trap 15). fp32 is fp32: TF32, which torch allows for convolutions by
    default, is used with dtype tf32 and no other.

    Shape letters are those of `strategies.vocabulary`; L = h*w image tokens, W the width of memory, d that of a head.
    """

    pixel_mean: ClassVar[Channels]
    """The mean that is subtracted from every picture, for each channel."""
    pixel_std: ClassVar[Channels]
    """The deviation by which every picture is then divided, for each channel."""

    def __init__(self, *, name: str, device: str, dtype: str) -> None:
        self.name = name
        self.device = torch.device(device)
        check_dtype(dtype, self.device)
        self.dtype = dtype

    @abstractmethod
    def in_dtype(self, dtype: str) -> Tracker:
        """Return the same network, with the same fp32 weights in memory, that computes in another dtype."""

    def computing(self) -> AbstractContextManager[None]:
        """Return a context of inference mode and the model's dtype; every strategy computes under it."""
        return computing_in(self.dtype, self.device)

    # --- from pictures -----------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def side(self) -> int:
        """The number of pixels along each side of the square input."""

    @abstractmethod
    def vision_features(self, pixels: Tensor) -> VisionFeatures:
        """Encode normalised ``[N, 3, S, S]``, within the caller's gradient and autocast modes."""

    def pixels(self, image: Image.Image | np.ndarray) -> Tensor:
        """Return a picture of any size (PIL, or uint8 ``[height, width, 3]``) as normalised fp32 ``[3, S, S]``."""
        return image_to_pixels(image, side=self.side, mean=self.pixel_mean, std=self.pixel_std)

    def encode(self, images: Sequence[Image.Image | np.ndarray]) -> VisionFeatures:
        """Encode pictures of any size."""
        return self.encode_pixels(torch.stack([self.pixels(image) for image in images]))

    def encode_pixels(self, pixels: Tensor) -> VisionFeatures:
        """Encode normalised ``[N, 3, S, S]``."""
        with self.computing():
            return self.vision_features(pixels.to(self.device, non_blocking=True))

    def references(
        self,
        images: Sequence[Image.Image | np.ndarray],
        label_maps: Sequence[np.ndarray],
        object_ids: tuple[int, ...] | None = None,
    ) -> References:
        """Make references of labelled pictures.

        label_maps: integers ``[height, width]``, 0 for background, else the object's id (`VOID` is none).
        object_ids: which objects to use, in which order; all ids that occur, ascending, where it is not given.
        Raises UserError where pictures, label maps and ids do not belong together.
        """
        check_pairs(images, label_maps)
        found = {int(value) for label_map in label_maps for value in np.unique(label_map)}
        if object_ids is None:
            object_ids = tuple(sorted(found - {0, VOID}))
        check_object_ids(object_ids, found)
        pixels = torch.stack([self.pixels(image) for image in images])
        masks = [label_map_to_masks(label_map, object_ids, side=self.side) for label_map in label_maps]
        return References(
            features=self.encode_pixels(pixels),
            masks=torch.stack(masks),
            object_ids=object_ids,
            pixels=pixels,
        )

    def check_masks(self, references: References) -> None:
        """Raise ValueError where the masks are not of the model's square."""
        if references.masks.shape[-2:] != (self.side, self.side):
            raise ValueError(
                f"the references' masks are {tuple(references.masks.shape[-2:])}, but {self.name} takes them at "
                f"{self.side} x {self.side}: use preprocessing.label_map_to_masks(..., side=model.side)"
            )

    # --- the session, as shipped -------------------------------------------------------------------------------

    @abstractmethod
    def new_session(self, *, frames: int) -> TrackerSession:
        """Return an empty session of ``frames`` frames, which keeps the features of all of them."""

    @abstractmethod
    def watch_candidates(self, note: Callable[[Tensor, Tensor], None]) -> RemovableHandle:
        """Call ``note`` with the predicted IoUs ``[1, 1, K]`` and the candidate masks ``[1, 1, K, H, W]``.

        They are those before the gate, of every target and object that a session decodes. It is called in the thread
        that decodes them, until the handle is removed.
        """

    @property
    @abstractmethod
    def stage_modules(self) -> StageModules: ...

    @property
    @abstractmethod
    def other_weights(self) -> Mapping[str, Tensor]:
        """The network's weights outside `stage_modules`, by name, such as those of the prompt encoder."""

    # --- sizes and times ---------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def dimensions(self) -> Dimensions: ...

    @property
    @abstractmethod
    def horizon(self) -> int:
        """The number of frames that a session goes back for memories and for pointers."""

    @property
    def depends_on_time(self) -> bool:
        """Return whether a target's masks depend on how long ago its references were.

        Their encoding in object pointers does, and so does the choice of the closest references where there is one
        (DESIGN section 3, traps 4 and 5).
        """
        return self.dimensions.pointers_depend_on_time or self.dimensions.conditioning_frames is not None

    # --- the memory bank ---------------------------------------------------------------------------------------

    @abstractmethod
    def spatial_memory(self, embedding: Tensor, mask: Tensor, visible: Tensor) -> Tensor:
        """Return ``[N, memory tokens, W]``: the memories of N references with one object's mask each.

        They are rounded as the session stores them, in fp32 (`memory_dtype` holds them without loss).
        embedding: the references' image embeddings ``[N, C, h, w]``; mask: fp32 ``[N, 1, S, S]`` of 0 and 1; visible:
        bool ``[N, 1]``, whether the mask holds a pixel.
        """

    @abstractmethod
    def tracked_memory(self, embedding: Tensor, logits: Tensor, present: Tensor) -> Tensor:
        """Return `spatial_memory` of N predictions, which keeps how sure they are: probabilities instead of signs.

        logits: ``[N, H, W]``, gated; present: bool ``[N, 1]``, whether the object's gate is open.
        """

    @property
    @abstractmethod
    def memory_dtype(self) -> torch.dtype:
        """The narrowest dtype that holds a spatial memory without loss."""

    @abstractmethod
    def mask_prompt(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sparse ``[N, 1, P, C]`` and the dense ``[N, C, h, w]`` prompt of masks.

        The masks are ``[N, 1, S, S]`` of 0 and 1. Under their prompt the mask decoder makes the token that becomes an
        object pointer.
        """

    @abstractmethod
    def object_pointers(self, tokens: Tensor, present: Tensor) -> Tensor:
        """Return the pointers ``[N, C]`` of the decoder's mask tokens ``[N, C]``.

        Where ``present``, bool ``[N, 1]``, is false, the pointer is that of no object.
        """

    @abstractmethod
    def memory_slots(self, references: int) -> list[tuple[int, int]]:
        """Return (reference, temporal offset) of each spatial memory that a target right after so many references sees.

        They are in the session's order; offset 0 is that of a conditioning frame.
        """

    @abstractmethod
    def memory_position(self, offset: int) -> Tensor:
        """Return the positions of a spatial memory at a temporal offset, ``[memory tokens, W]``."""

    @abstractmethod
    def pointer_memory(self, pointers: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens ``[O, R * pointer tokens, W]`` of the references' object pointers ``[R, O, C]``.

        The second tensor holds their positions, ``[R * pointer tokens, W]``.
        """

    @abstractmethod
    def timed_pointers(self, pointers: Tensor, ages: Tensor, *, span: int) -> tuple[Tensor, Tensor]:
        """Return the tokens ``[P, K * pointer tokens, W]`` of pointers ``[P, K, C]`` of some ages, and their positions.

        ages: ``[P, K]``, or ``[1, K]`` where those of all P are the same, in frames; positions are ``[P or 1, K *
        pointer tokens, W]``. span: the age that is encoded as 1.
        """

    # --- memory attention --------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def memory_attention(self) -> MemoryAttention: ...

    @property
    @abstractmethod
    def rotary(self) -> tuple[Tensor, Tensor]:
        """The fp32 cos and sin ``[L, d]`` of the rotary encoding of image tokens; neighbouring channels make a pair."""

    @abstractmethod
    def memory_rotary(self, memories: int) -> tuple[Tensor, Tensor]:
        """Return `rotary` of the tokens of so many spatial memories, ``[memories * memory tokens, d]``."""

    @abstractmethod
    def memory_attention_input(self, embedding: Tensor) -> Tensor:
        """Return what the first layer gets of image embeddings ``[T, C, h, w]``, as ``[T, L, C]``."""

    @abstractmethod
    def feed_forward(self, layer: MemoryAttentionLayer, x: Tensor) -> Tensor:
        """Apply a layer's last step to ``[..., C]``, with its norm and without its residual."""

    @abstractmethod
    def attend_to_memory(self, queries: Tensor, memory: Tensor, position: Tensor, *, pointer_tokens: int) -> Tensor:
        """Run the network's own memory attention, ``[B, L, C]``, with one memory for each image.

        queries: image embeddings ``[L, B, C]``; memory: ``[B, M, W]``, of which the last ``pointer_tokens`` are those
        of pointers; position: ``[1, M, W]``.
        """

    # --- the mask decoder --------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def mask_decoder(self) -> MaskDecoder: ...

    @property
    @abstractmethod
    def image_position(self) -> Tensor:
        """The mask decoder's dense position encoding, ``[1, C, h, w]``."""

    @property
    @abstractmethod
    def no_prompt_tokens(self) -> Tensor:
        """The prompt encoder's sparse output without a prompt, ``[1, 1, P, C]``."""

    @property
    @abstractmethod
    def no_prompt_dense(self) -> Tensor:
        """The prompt encoder's dense output without a prompt, ``[1, C, 1, 1]``."""
