"""How many (target, object) pairs go through the network at once where nobody says it.

On a GPU that follows from its memory: chunks of a fixed size would make batches above them useless on a large card.
"""

from __future__ import annotations

import torch

from strategies.models.dimensions import Dimensions

CPU_TOKENS = 65_536
"""Image tokens on a CPU, which gains nothing by more: 16 pairs at 1024 px."""
SHARE_OF_ALL, SHARE_OF_FREE = 0.25, 0.5
"""A chunk may take so much of a GPU's memory, and of what is free; the first is what counts on a GPU of one's own, so
that a job that is interrupted has the same chunks when it goes on."""
MOST_VALUES = 2**31
"""No tensor of a chunk has so many values, because some kernels count them in 32 bits."""
VALUE_BYTES = 4
"""Bytes of a value; autocast keeps sums, norms and softmax in fp32 whatever the dtype."""
HIDDEN_COPIES, FEED_FORWARD_COPIES = 10, 2
"""Tensors that memory attention holds at once: of ``[tokens, hidden]``, and inside its feed-forward network."""


def bytes_per_pair(dimensions: Dimensions, *, copied_tokens: int) -> int:
    """Return the bytes of activations that a pair takes at most.

    copied_tokens: tokens of memory of which the pair has copies of keys and values of its own; 0 for a shared bank.
    """
    attention = dimensions.memory_attention
    values = HIDDEN_COPIES * attention.hidden + FEED_FORWARD_COPIES * attention.feed_forward
    copies = 2 * dimensions.memory_width + 5 * attention.width
    return VALUE_BYTES * (dimensions.image_tokens * values + copied_tokens * copies)


def pairs_that_fit(dimensions: Dimensions, memory: float, *, copied_tokens: int) -> int:
    """Return how many pairs fit into so many bytes, as a power of two; at least one."""
    widest = dimensions.image_tokens * max(dimensions.memory_attention.feed_forward, 8 * dimensions.hidden)
    pairs = min(int(memory // bytes_per_pair(dimensions, copied_tokens=copied_tokens)), (MOST_VALUES - 1) // widest)
    return 1 << max(pairs, 1).bit_length() - 1


def pairs_on(device: torch.device, dimensions: Dimensions, *, copied_tokens: int) -> int:
    """Return how many pairs go at once on a device."""
    if device.type != "cuda":
        return max(1, CPU_TOKENS // dimensions.image_tokens)
    free, total = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch keeps it for the next.
    memory = min(SHARE_OF_ALL * total, SHARE_OF_FREE * (free + kept))
    return pairs_that_fit(dimensions, memory, copied_tokens=copied_tokens)
