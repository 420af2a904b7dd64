"""The adapter of the HF SAM2 video model, for SAM2 and SAM2.1, which gives strategies what they need of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.models.sam2_video.modeling_sam2_video import get_1d_sine_pe

from strategies.errors import UserError
from strategies.models.casts import cast_once
from strategies.models.dimensions import Dimensions, MaskDecoderDimensions, MemoryAttentionDimensions
from strategies.models.memory_encoder import encode_memories
from strategies.models.modules import MaskDecoder, MemoryAttention
from strategies.models.precision import DTYPES
from strategies.models.sam2_session import Sam2Session
from strategies.models.tracker import StageModules, Tracker
from strategies.vocabulary import VisionFeatures

HFModule = Any
"""A module of the HF network, which carries no types for its attributes."""


class Sam2(Tracker):
    """A SAM2 or SAM2.1 video model.

    The two differ in what the network's config says: SAM2.1 encodes into object pointers how old they are, and adds an
    embedding to the memory of frames that do not show the object (DESIGN section 3, trap 14).
    Raises UserError where the network tracks with a single mask.
    """

    pixel_mean = tuple(IMAGENET_DEFAULT_MEAN)
    pixel_std = tuple(IMAGENET_DEFAULT_STD)
    session: ClassVar[type[Sam2Session]] = Sam2Session

    def __init__(self, network: PreTrainedModel, *, name: str, device: str = "cpu", dtype: str = "fp32") -> None:
        super().__init__(name=name, device=device, dtype=dtype)
        if not network._use_multimask(False, None):
            raise UserError(
                f"model {name} tracks with a single mask; only models that pick the best of three are served"
            )
        self._stored = network.to(self.device)
        self.network = cast_once(self._stored, DTYPES[dtype])
        """The network that computes; in bf16 and fp16 it holds casts of the weights that its products read."""
        self.embedding_position = self._embedding_position()
        """``[1, h*w, C]``: the neck's sine encoding of the image embedding, the same for every frame."""
        self.encoder_position = self._memory_encoder_position()
        """``[h*w, W]``: the memory encoder's sine encoding, the same for every memory."""
        self._spatial_position = self._memory_position()
        self._rotary = self._rotary_tables()
        self._image_position = self._decoder_position()

    def in_dtype(self, dtype: str) -> Self:
        return type(self)(self._stored, name=self.name, device=str(self.device), dtype=dtype)

    @property
    def position_dtype(self) -> torch.dtype:
        """The dtype in which the memory encoder's positions are computed."""
        return torch.float32

    # --- from pictures -----------------------------------------------------------------------------------------

    @property
    def side(self) -> int:
        side: int = self.network.image_size
        return side

    def vision_features(self, pixels: Tensor) -> VisionFeatures:
        maps = self.network.get_image_features(pixels, return_dict=True).fpn_hidden_states
        stride4, stride8, embedding = (
            level.permute(1, 2, 0).unflatten(2, tuple(size))
            for level, size in zip(maps, self.network.backbone_feature_sizes, strict=True)
        )
        return VisionFeatures(embedding=embedding, stride4=stride4, stride8=stride8)

    # --- the session, as shipped -------------------------------------------------------------------------------

    def new_session(self, *, frames: int) -> Sam2Session:
        return self.session(
            self.network,
            frames=frames,
            embedding_position=self.embedding_position,
            wide_memory=self.dtype == "fp16",
        )

    def watch_candidates(self, note: Callable[[Tensor, Tensor], None]) -> RemovableHandle:
        decoder = self.network.mask_decoder
        return decoder.register_forward_hook(lambda _module, _inputs, output: note(output[1], output[0]))

    @property
    def stage_modules(self) -> StageModules:
        network = self.network
        return StageModules(
            vision_encoder=network.vision_encoder,
            memory_encoder=network.memory_encoder,
            memory_attention=network.memory_attention,
            mask_decoder=network.mask_decoder,
        )

    @property
    def other_weights(self) -> dict[str, Tensor]:
        stages = vars(self.stage_modules).values()
        within = {id(tensor) for stage in stages for tensor in (*stage.parameters(), *stage.buffers())}
        every = self.network.state_dict(keep_vars=True)
        return {name: tensor for name, tensor in every.items() if id(tensor) not in within}

    # --- sizes and times ---------------------------------------------------------------------------------------

    @cached_property
    def dimensions(self) -> Dimensions:
        return sam2_dimensions(self.network.config)

    @property
    def horizon(self) -> int:
        return max(self.network.num_maskmem, self.network.config.max_object_pointers_in_encoder) - 1

    # --- the memory bank ---------------------------------------------------------------------------------------

    def spatial_memory(self, embedding: Tensor, mask: Tensor, visible: Tensor) -> Tensor:
        return self.stored_memory(embedding, mask, visible)

    def tracked_memory(self, embedding: Tensor, logits: Tensor, present: Tensor) -> Tensor:
        enlarged = F.interpolate(logits[:, None].float(), size=(self.side, self.side), mode="bilinear")
        probabilities = self.remembered_logits(enlarged).to(logits.dtype).sigmoid_()
        return self.stored_memory(embedding, probabilities, present, tracked=True)

    def remembered_logits(self, logits: Tensor) -> Tensor:
        """Return fp32 logits ``[N, 1, S, S]`` at the resolution at which masks enter memory."""
        return logits

    @property
    def memory_dtype(self) -> torch.dtype:
        """The model stores memory as bf16 whatever it computes in (DESIGN section 3, trap 7)."""
        return torch.bfloat16

    def stored_memory(self, embedding: Tensor, mask: Tensor, visible: Tensor, *, tracked: bool = False) -> Tensor:
        """Return `spatial_memory` of masks, of values from 0 to 1, at the resolution at which they enter memory.

        tracked: of predictions, which come at every step of a stream, so that it pays to be quick.
        """
        features = self.encoded_memory(embedding, mask, visible, tracked=tracked)
        rounded: Tensor = features.to(self.memory_dtype).flatten(2).transpose(1, 2).float()
        return rounded

    def encoded_memory(self, embedding: Tensor, mask: Tensor, visible: Tensor, *, tracked: bool) -> Tensor:
        """Return what the memory encoder makes of the arguments of `stored_memory`, ``[N, W, h, w]``."""
        network, config = self.network, self.network.config
        scaled = mask * config.sigmoid_scale_for_mem_enc + config.sigmoid_bias_for_mem_enc
        encoder = network.memory_encoder
        features: Tensor = encode_memories(encoder, embedding, scaled) if tracked else encoder(embedding, scaled)[0]
        if network.occlusion_spatial_embedding_parameter is not None:
            absent = (~visible).float()[..., None, None]
            features = features + absent * network.occlusion_spatial_embedding_parameter[..., None, None]
        return features

    def mask_prompt(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        sparse, dense = self.network.prompt_encoder(
            input_points=mask.new_zeros(mask.shape[0], 1, 1, 2),
            input_labels=-torch.ones(mask.shape[0], 1, 1, dtype=torch.int32, device=mask.device),
            input_boxes=None,
            input_masks=self.low_resolution_prompt(mask),
        )
        return sparse, dense

    def low_resolution_prompt(self, mask: Tensor) -> Tensor:
        """Return the masks ``[N, 1, S, S]`` at the resolution of logits, as the prompt encoder takes them."""
        prompt: Tensor = self.network.mask_downsample(mask)
        return prompt

    def object_pointers(self, tokens: Tensor, present: Tensor) -> Tensor:
        pointers = self.network.object_pointer_proj(tokens)
        return torch.where(present, pointers, self.network.no_object_pointer.to(pointers.dtype))

    def memory_slots(self, references: int) -> list[tuple[int, int]]:
        """With more references than `max_cond_frame_num` the session keeps the closest ones and lets recent others in
        as ordinary memories (DESIGN section 3, trap 5)."""
        network = self.network
        chosen, others = network._select_closest_cond_frames(
            references,
            {frame: frame for frame in range(references)},
            max_cond_frame_num=network.config.max_cond_frame_num,
        )
        slots = [(frame, 0) for frame in chosen]
        for offset in range(network.num_maskmem - 1, 0, -1):
            if references - offset in others:
                slots.append((references - offset, offset))
        return slots

    def memory_position(self, offset: int) -> Tensor:
        temporal = self.network.memory_temporal_positional_encoding[:, 0, 0]  # [num_maskmem, W]
        position: Tensor = self._spatial_position + temporal[offset - 1]
        return position

    def pointer_memory(self, pointers: Tensor) -> tuple[Tensor, Tensor]:
        frames = len(pointers)
        ages = torch.arange(frames, 0, -1, device=pointers.device)
        span = min(frames, self.dimensions.recent_pointers)
        tokens, position = self.timed_pointers(pointers.transpose(0, 1), ages[None], span=span)
        return tokens, position[0]

    def timed_pointers(self, pointers: Tensor, ages: Tensor, *, span: int) -> tuple[Tensor, Tensor]:
        """There are no tokens at all where the model keeps pointers out of memory."""
        network, tokens = self.network, self.dimensions.pointer_tokens
        if tokens == 0:
            empty = pointers.new_zeros(len(pointers), 0, network.mem_dim)
            return empty, empty[:1]
        if network.config.enable_temporal_pos_encoding_for_object_pointers:
            sine = get_1d_sine_pe(ages.float() / span, dim=network.hidden_dim).to(pointers.dtype)
            position = network.temporal_positional_encoding_projection_layer(sine)
        else:
            position = pointers.new_zeros(*ages.shape, network.mem_dim)
        return pointers.reshape(len(pointers), -1, network.mem_dim), position.repeat_interleave(tokens, dim=1)

    # --- memory attention --------------------------------------------------------------------------------------

    @property
    def memory_attention(self) -> MemoryAttention:
        module: MemoryAttention = self.network.memory_attention
        return module

    @property
    def rotary(self) -> tuple[Tensor, Tensor]:
        return self._rotary

    def memory_rotary(self, memories: int) -> tuple[Tensor, Tensor]:
        """Spatial memories repeat the tables of the image's tokens, one memory after another."""
        cos, sin = self._rotary
        return cos.repeat(memories, 1), sin.repeat(memories, 1)

    def memory_attention_input(self, embedding: Tensor) -> Tensor:
        return embedding.flatten(2).transpose(1, 2) + 0.1 * self.embedding_position

    def feed_forward(self, layer: HFModule, x: Tensor) -> Tensor:
        hidden = layer.linear1(layer.layer_norm3(x))  # the largest tensor of all, so it is kept once
        hidden = hidden.relu_() if isinstance(layer.activation, nn.ReLU) else layer.activation(hidden)
        out: Tensor = layer.linear2(hidden)
        return out

    def attend_to_memory(self, queries: Tensor, memory: Tensor, position: Tensor, *, pointer_tokens: int) -> Tensor:
        return self._attend(queries, memory, position, pointer_tokens)

    def _attend(
        self, queries: Tensor, memory: Tensor, position: Tensor, pointer_tokens: int, **of_family: int
    ) -> Tensor:
        """Run the network's module. of_family: the arguments that only a family's own module takes."""
        out = self.network.memory_attention(
            current_vision_features=queries,
            current_vision_position_embeddings=self.embedding_position.transpose(0, 1),
            memory=memory.transpose(0, 1),
            memory_posision_embeddings=position.expand(memory.shape[0], -1, -1).transpose(0, 1),
            num_object_pointer_tokens=pointer_tokens,
            **of_family,
        )
        # The module returns an axis of one before or behind the pairs; tokens and channels come last.
        tokens: Tensor = out.reshape(memory.shape[0], *out.shape[-2:])
        return tokens

    # --- the mask decoder --------------------------------------------------------------------------------------

    @property
    def mask_decoder(self) -> MaskDecoder:
        module: MaskDecoder = self.network.mask_decoder
        return module

    @property
    def image_position(self) -> Tensor:
        return self._image_position

    @property
    def no_prompt_tokens(self) -> Tensor:
        """The prompt is one empty point and its padding."""
        tokens: Tensor = self.network.prompt_encoder.not_a_point_embed.weight.expand(1, 1, 2, -1)
        return tokens

    @property
    def no_prompt_dense(self) -> Tensor:
        dense: Tensor = self.network.prompt_encoder.no_mask_embed.weight[..., None, None]
        return dense

    # --- constants, made once ----------------------------------------------------------------------------------

    @torch.no_grad()
    def _embedding_position(self) -> Tensor:
        size = self.network.backbone_feature_sizes[-1]
        encoding = self.network.vision_encoder.neck.position_encoding
        position = encoding(torch.Size((1, self.network.hidden_dim, *size)), self.device, torch.float32)
        return position.flatten(2).transpose(1, 2)

    @torch.no_grad()
    def _memory_encoder_position(self) -> Tensor:
        size = self.network.backbone_feature_sizes[-1]
        encoding = self.network.memory_encoder.position_encoding
        position = encoding(torch.Size((1, self.network.mem_dim, *size)), self.device, self.position_dtype)
        return position.flatten(2)[0].T

    def _memory_position(self) -> Tensor:
        """Return where the tokens of a spatial memory are, ``[memory tokens, W]``."""
        return self.encoder_position

    @torch.no_grad()
    def _rotary_tables(self) -> tuple[Tensor, Tensor]:
        attention = self.network.memory_attention
        cos, sin = attention.rotary_emb(self.embedding_position, attention.position_ids)
        return cos.flatten(0, -2), sin.flatten(0, -2)

    @torch.no_grad()
    def _decoder_position(self) -> Tensor:
        return self.network.get_image_wide_positional_embeddings()


def sam2_dimensions(config: PreTrainedConfig) -> Dimensions:
    """Return the dimensions of the network that the config describes."""
    height, width = config.vision_config.backbone_feature_sizes[-1]
    feed_forward = config.memory_attention_feed_forward_hidden_size
    return dimensions_of(config, memory_tokens=height * width, feed_forward=feed_forward)


def dimensions_of(config: PreTrainedConfig, *, memory_tokens: int, feed_forward: int) -> Dimensions:
    """Return the dimensions of a network whose config has SAM2's fields.

    memory_tokens: of one spatial memory; feed_forward: the hidden width of memory attention's layers. Families have
    these under names of their own.
    """
    height, width = config.vision_config.backbone_feature_sizes[-1]
    hidden, memory_width = config.vision_config.fpn_hidden_size, config.memory_encoder_output_channels
    pointers, limit = config.max_object_pointers_in_encoder > 0, config.max_cond_frame_num
    prompt, decoder = config.prompt_encoder_config, config.mask_decoder_config
    return Dimensions(
        hidden=hidden,
        image_tokens=height * width,
        prompt_tokens=(prompt.image_size // prompt.patch_size) ** 2,
        prompt_width=prompt.hidden_size // 2,
        memory_width=memory_width,
        memory_tokens=memory_tokens,
        pointer_tokens=max(1, hidden // memory_width) if pointers else 0,
        conditioning_frames=None if limit == -1 else limit,
        recent_memories=config.num_maskmem - 1,
        recent_pointers=max(0, config.max_object_pointers_in_encoder - 1),
        pointers_depend_on_time=config.enable_temporal_pos_encoding_for_object_pointers,
        memory_attention=MemoryAttentionDimensions(
            layers=config.memory_attention_num_layers,
            heads=config.memory_attention_num_attention_heads,
            hidden=config.memory_attention_hidden_size,
            width=config.memory_attention_hidden_size // config.memory_attention_downsample_rate,
            feed_forward=feed_forward,
        ),
        mask_decoder=MaskDecoderDimensions(
            layers=decoder.num_hidden_layers,
            heads=decoder.num_attention_heads,
            hidden=decoder.hidden_size,
            width=decoder.hidden_size // decoder.attention_downsample_rate,
            mlp=decoder.mlp_dim,
            candidates=decoder.num_multimask_outputs,
            iou_head_hidden=decoder.iou_head_hidden_dim,
            iou_head_depth=decoder.iou_head_depth,
        ),
    )
