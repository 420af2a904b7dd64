"""Weights in the dtype that a model computes in, cast once instead of at every use.

Autocast casts what goes into a product or a convolution to the narrow dtype each time, and keeps the casts of weights
only where they require a gradient (DESIGN section 3, trap 15). A session would pay for hundreds of casts of every
target, which flatters whatever is compared with it.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)

NARROWED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
"""Modules whose weights and biases autocast casts, on every device; it leaves norms and embeddings as they are."""


def cast_once(network: Network, dtype: torch.dtype) -> Network:
    """Return the network with the weights that autocast to ``dtype`` would cast, cast by the same rounding.

    All other tensors are shared with ``network``, which is returned itself where there is nothing to cast. Under
    autocast both compute the same bits.
    """
    if dtype == torch.float32:
        return network
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    for module in network.modules():
        if isinstance(module, NARROWED):
            for weight in module.parameters(recurse=False):
                shared[id(weight)] = nn.Parameter(weight.detach().to(dtype), requires_grad=False)
    return copy.deepcopy(network, shared)
