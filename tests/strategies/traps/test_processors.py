"""Trap 12: the processors of transformers, and our preprocessing."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import Sam2ImageProcessor, image_utils
from transformers import models as transformers_models

from strategies import Sam2, Sam3Tracker
from strategies.preprocessing import image_to_pixels
from tests.support.paths import ROOT


@pytest.mark.processes
def test_trap_12_hfs_processors_want_torchvision_and_ours_does_without() -> None:
    if importlib.util.find_spec("torchvision") is None:
        with pytest.raises(ImportError, match=r"(?i)torchvision"):
            Sam2ImageProcessor()
    script = (
        "import numpy as np; from strategies import load_model; "
        "model = load_model('toy'); picture = np.zeros((90, 50, 3), dtype=np.uint8); "
        "labels = np.ones((90, 50), dtype=np.uint8); model.references([picture], [labels]); model.encode([picture])"
    )
    if importlib.util.find_spec("torchvision") is None:
        exec(script)
    else:
        without = f"import sys; sys.modules['torchvision'] = None; {script}"
        subprocess.run([sys.executable, "-c", without], cwd=ROOT, check=True, timeout=300)


PROCESSORS: dict[str, tuple[str, type[Sam2], str, int]] = {
    "sam2": ("Sam2ImageProcessor", Sam2, "IMAGENET_DEFAULT", 1024),
    "sam3": ("Sam3ImageProcessor", Sam3Tracker, "IMAGENET_STANDARD", 1008),
}
"""By the package of transformers that has it: the class, the adapter, the statistics of pictures, and the side."""


@pytest.mark.parametrize("package", PROCESSORS)
def test_trap_12_our_preprocessing_is_what_the_processors_options_say(package: str) -> None:
    """Read from their source, because a class that wants torchvision can't be looked into without it."""
    name, adapter, statistics, side = PROCESSORS[package]
    options = processor_options(package, name)
    assert options["resample"] == "PILImageResampling.BILINEAR"
    assert options["size"] == f"{{'height': {side}, 'width': {side}}}", "a square, whatever the picture's shape"
    assert (options["do_resize"], options["do_rescale"], options["do_normalize"]) == ("True", "True", "True")
    assert (options["image_mean"], options["image_std"]) == (f"{statistics}_MEAN", f"{statistics}_STD")
    assert list(adapter.pixel_mean) == getattr(image_utils, f"{statistics}_MEAN")
    assert list(adapter.pixel_std) == getattr(image_utils, f"{statistics}_STD")


def test_trap_12_floating_point_all_the_way_is_half_a_level_off_and_without_antialias_it_is_ten() -> None:
    """`test_preprocessing.py` compares ours with the processor itself."""
    picture = np.random.default_rng(0).integers(0, 256, (300, 170, 3), dtype=np.uint8)
    mean, std = (torch.tensor(values)[:, None, None] for values in (Sam2.pixel_mean, Sam2.pixel_std))
    ours = (image_to_pixels(picture, side=128, mean=Sam2.pixel_mean, std=Sam2.pixel_std) * std + mean) * 255
    levels = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    floating, naive = (
        F.interpolate(levels, size=(128, 128), mode="bilinear", antialias=antialias)[0] for antialias in (True, False)
    )
    assert 0.5 < (ours - floating).abs().max() < 1.5
    assert (ours - naive).abs().max() > 10


def processor_options(package: str, name: str) -> dict[str, str]:
    """Class attributes of a package's image processor, as its source spells them."""
    folder = Path(transformers_models.__path__[0], package)
    for path in sorted(folder.glob("image_processing_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name.startswith(name):
                assigned = [line for line in node.body if isinstance(line, ast.Assign)]
                if assigned:
                    return {ast.unparse(line.targets[0]): ast.unparse(line.value) for line in assigned}
    raise AssertionError(f"no image processor in {folder}")
