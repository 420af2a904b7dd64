"""Drawn pictures, and what HF's processor of SAM2 makes of them, which ours has to make too.

The processor needs torchvision. What it made is stored, so that machines without torchvision can compare with it:
``python -m tests.support.hf_processor`` stores it again, on a processor with AVX2 or NEON.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

SIDE = 16
STORED = Path(__file__).with_name("hf_processor.npz")
"""What the processor of transformers 5.23 made of `drawn` pictures, with torchvision 0.28 on a CPU with AVX-512."""
SIZES = {"shrunk": (48, 85), "enlarged": (10, 7), "shrunk and enlarged": (9, 250), "as it is": (SIDE, SIDE)}
"""Heights and widths of the drawn pictures, by what resizing does to them."""


def drawn(height: int, width: int) -> np.ndarray:
    """Draw fine gradients in red, a chequered pattern in green and a disc in blue."""
    y, x = np.mgrid[:height, :width]
    disc = (y - height / 2) ** 2 + (x - width / 3) ** 2 < height * width / 9
    return np.stack([(7 * x + 3 * y) % 256, (x // 3 + y // 2) % 2 * 250, 255 * disc], axis=-1).astype(np.uint8)


def processed(picture: np.ndarray, *, side: int) -> Tensor:
    """Return what HF's processor makes of a picture; raises ImportError without torchvision."""
    from transformers import Sam2ImageProcessor

    processor: Any = Sam2ImageProcessor(size={"height": side, "width": side})
    pixels: Tensor = processor(Image.fromarray(picture), return_tensors="pt").pixel_values[0]
    return pixels


if __name__ == "__main__":
    made = {name: processed(drawn(*size), side=SIDE).numpy() for name, size in SIZES.items()}
    np.savez_compressed(STORED, **made)
