"""Memory attention in plain NumPy float64, one target and one object at a time, for others to be held against.

Written from the papers and from how the original behaves, and from no code of this project or of transformers: pre-norm
layers of self-attention, cross-attention to memory and a ReLU network (SAM 2, Ravi et al. 2024, section 4 and appendix
D), with the axial rotary encoding of RoPE (Su et al. 2021; Heo et al. 2024 for two axes). What papers leave out:

- the input is the image embedding plus 0.1 times its position encoding;
- rotary pairs are neighbouring channels, read as complex numbers; the first half of them turns with x, the other with
  y, and the angles at each place are those of the image grid;
- spatial memories repeat the grid's angles, one grid after another; the object pointers at the end do not turn;
- positions are added to the keys of memory, never to its values;
- EdgeTAM's memories (Zhou et al. 2025) are latents: of each, the first do not turn, and the others have a grid of their
  own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

Array = npt.NDArray[np.float64]
THETA = 10_000.0
EPSILON = 1e-5
LINEAR = ("linear1", "linear2")


@dataclass(frozen=True, kw_only=True)
class MemoryAttention:
    """weights: by the names that the checkpoint has below ``memory_attention``. grid: height and width of the image's
    tokens, memory_grid: of a memory's, before which there are ``unturned`` latents."""

    weights: dict[str, Array]
    grid: tuple[int, int]
    memory_grid: tuple[int, int]
    unturned: int
    layers: int

    @staticmethod
    def of(
        module: nn.Module, *, grid: tuple[int, int], memory_grid: tuple[int, int], unturned: int, layers: int
    ) -> MemoryAttention:
        weights = {name: tensor.detach().double().numpy() for name, tensor in module.state_dict().items()}
        return MemoryAttention(weights=weights, grid=grid, memory_grid=memory_grid, unturned=unturned, layers=layers)

    def __call__(
        self, image: Array, image_position: Array, memory: Array, memory_position: Array, *, pointers: int
    ) -> Array:
        """``[L, C]`` of one target's tokens ``[L, C]`` and one object's memory ``[M, 64]``, its last ``pointers``
        tokens being object pointers."""
        x = image + 0.1 * image_position
        for layer in range(self.layers):
            x = self._layer(f"layers.{layer}", x, memory, memory_position, pointers)
        return self._norm("layer_norm", x)

    def _layer(self, name: str, x: Array, memory: Array, position: Array, pointers: int) -> Array:
        normed = self._norm(f"{name}.layer_norm1", x)
        query, key = (self._turned(self._linear(f"{name}.self_attn.{part}_proj", normed), self.grid) for part in "qk")
        x = x + self._attention(f"{name}.self_attn", query, key, normed)
        normed = self._norm(f"{name}.layer_norm2", x)
        query = self._turned(self._linear(f"{name}.cross_attn_image.q_proj", normed), self.grid)
        key = self._linear(f"{name}.cross_attn_image.k_proj", memory + position)
        key = np.concatenate([self._turned_memories(key[: len(key) - pointers]), key[len(key) - pointers :]])
        x = x + self._attention(f"{name}.cross_attn_image", query, key, memory)
        normed = self._norm(f"{name}.layer_norm3", x)
        first, second = ("mlp.up_proj", "mlp.down_proj") if f"{name}.mlp.up_proj.bias" in self.weights else LINEAR
        return x + self._linear(f"{name}.{second}", np.maximum(self._linear(f"{name}.{first}", normed), 0))

    def _attention(self, name: str, query: Array, key: Array, values: Array) -> Array:
        """One head."""
        scores = query @ key.T / np.sqrt(query.shape[1])
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        return self._linear(f"{name}.o_proj", weights @ self._linear(f"{name}.v_proj", values))

    def _turned_memories(self, tokens: Array) -> Array:
        """Rotary encoding of memories, one after another."""
        height, width = self.memory_grid
        memories = tokens.reshape(-1, self.unturned + height * width, tokens.shape[1])
        turned = [
            np.concatenate([memory[: self.unturned], self._turned(memory[self.unturned :], self.memory_grid)])
            for memory in memories
        ]
        return np.concatenate(turned)

    def _turned(self, tokens: Array, grid: tuple[int, int]) -> Array:
        """Rotary encoding of the tokens ``[L, d]`` of a grid."""
        height, width = grid
        quarter = tokens.shape[1] // 4
        frequencies = THETA ** (-np.arange(quarter) / quarter)
        y, x = np.divmod(np.arange(height * width), width)
        angles = np.concatenate([np.outer(x, frequencies), np.outer(y, frequencies)], axis=1)
        turned = (tokens[:, 0::2] + 1j * tokens[:, 1::2]) * np.exp(1j * angles)
        return np.stack([turned.real, turned.imag], axis=2).reshape(tokens.shape)

    def _norm(self, name: str, x: Array) -> Array:
        centred = x - x.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def _linear(self, name: str, x: Array) -> Array:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
