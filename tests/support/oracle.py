"""SAM2's memory attention in plain NumPy float64, one target and one object at a time, for others to be held against.

Written from the papers and from how the original behaves, and from no code of this project or of transformers: pre-norm
layers of self-attention, cross-attention to memory and a ReLU network (SAM 2, Ravi et al. 2024, section 4 and appendix
D), with the axial rotary encoding of RoPE (Su et al. 2021; Heo et al. 2024 for two axes). What papers leave out:

- the input is the image embedding plus 0.1 times its position encoding;
- rotary pairs are neighbouring channels, read as complex numbers; the first half of them turns with x, the other with
  y, and the angles at each place are those of the image grid;
- spatial memories repeat the grid's angles, one grid after another; the object pointers at the end do not turn;
- positions are added to the keys of memory, never to its values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

Array = npt.NDArray[np.float64]
THETA = 10_000.0
EPSILON = 1e-5


@dataclass(frozen=True, kw_only=True)
class MemoryAttention:
    """weights: by the names that the checkpoint has below ``memory_attention``. grid: height and width."""

    weights: dict[str, Array]
    grid: tuple[int, int]
    layers: int

    @staticmethod
    def of(module: nn.Module, *, grid: tuple[int, int], layers: int) -> MemoryAttention:
        weights = {name: tensor.detach().double().numpy() for name, tensor in module.state_dict().items()}
        return MemoryAttention(weights=weights, grid=grid, layers=layers)

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
        x = x + self._attention(f"{name}.self_attn", normed, normed, normed, pointers=0)
        normed = self._norm(f"{name}.layer_norm2", x)
        x = x + self._attention(f"{name}.cross_attn_image", normed, memory + position, memory, pointers=pointers)
        normed = self._norm(f"{name}.layer_norm3", x)
        return x + self._linear(f"{name}.linear2", np.maximum(self._linear(f"{name}.linear1", normed), 0))

    def _attention(self, name: str, queries: Array, keys: Array, values: Array, *, pointers: int) -> Array:
        """One head."""
        query = self._turned(self._linear(f"{name}.q_proj", queries))
        key = self._linear(f"{name}.k_proj", keys)
        spatial = len(key) - pointers
        key = np.concatenate([self._turned(key[:spatial]), key[spatial:]])
        scores = query @ key.T / np.sqrt(query.shape[1])
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        return self._linear(f"{name}.o_proj", weights @ self._linear(f"{name}.v_proj", values))

    def _turned(self, tokens: Array) -> Array:
        """Rotary encoding of ``[n * L, d]``, ``n`` grids one after another."""
        height, width = self.grid
        quarter = tokens.shape[1] // 4
        frequencies = THETA ** (-np.arange(quarter) / quarter)
        y, x = np.divmod(np.arange(len(tokens)) % (height * width), width)
        angles = np.concatenate([np.outer(x, frequencies), np.outer(y, frequencies)], axis=1)
        turned = (tokens[:, 0::2] + 1j * tokens[:, 1::2]) * np.exp(1j * angles)
        return np.stack([turned.real, turned.imag], axis=2).reshape(tokens.shape)

    def _norm(self, name: str, x: Array) -> Array:
        centred = x - x.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def _linear(self, name: str, x: Array) -> Array:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
