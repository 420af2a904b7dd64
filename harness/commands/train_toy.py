"""``python -m harness.train_toy [--steps 9000] [--help]``: train the toy model on synthetic specimens.

Writes weights, log and card next to the toy's config. The forward pass is the one that `direct` runs: batched memory
bank, shared-bank memory attention, decoder; the loss is SAM2's (focal + dice on the best of three candidates, IoU
regression, object score).

Exit codes: 0 trained; 2 bad input.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, IterableDataset
from transformers import Sam2VideoModel

from harness.commands.validation import validation_scores
from harness.data.group import Frame
from harness.data.synthetic import synthetic_groups
from strategies.components.mask_decoder import decode_candidates, hypernetworks, upscale
from strategies.components.memory_attention import condition_shared, project_bank
from strategies.components.memory_bank import build_memory_bank
from strategies.models.sam2 import Sam2
from strategies.models.sam2_family import TOY_FOLDER, toy_config
from strategies.models.tracker import Tracker
from strategies.preprocessing import image_to_pixels, label_map_to_masks
from strategies.vocabulary import References, VisionFeatures

SIDE = 128
TARGETS = 3
GROUPS = 3
CARD = "training.json"
TRAINING_SEED = 1
"""Every step draws the seed of its groups from this one and the step's number."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One group: pixels ``[R + T, 3, S, S]`` and masks ``[R + T, O, S, S]``, references first."""

    pixels: Tensor
    masks: Tensor
    references: int


class TrainingGroups(IterableDataset[list[Sample]]):
    """Endless batches of ever new groups; the groups of a batch have the same numbers of references and objects."""

    def __iter__(self) -> Iterator[list[Sample]]:
        for step in count():
            rng = np.random.default_rng((TRAINING_SEED, step))
            references, objects = int(rng.integers(1, 4)), int(rng.integers(2, 6))
            groups = synthetic_groups(
                count=GROUPS,
                references=references,
                targets=TARGETS,
                objects=objects,
                size=(SIDE, SIDE),
                seed=int(rng.integers(1 << 62)),
            )
            yield [_sample(group.references + group.targets, group.object_ids, references) for group in groups]


def _sample(frames: tuple[Frame, ...], object_ids: tuple[int, ...], references: int) -> Sample:
    pictures = [frame.image() for frame in frames]
    pixels = [image_to_pixels(each, side=SIDE, mean=Sam2.pixel_mean, std=Sam2.pixel_std) for each in pictures]
    labels = [frame.labels() for frame in frames if frame.labels is not None]
    masks = torch.stack([label_map_to_masks(label_map, object_ids, side=SIDE) for label_map in labels])
    return Sample(pixels=torch.stack(pixels), masks=masks, references=references)


def batch_loss(model: Tracker, batch: list[Sample]) -> tuple[Tensor, float]:
    """Return the loss, and the picked candidate's mean IoU over the present objects of all targets."""
    device = model.device
    features = model.vision_features(torch.cat([sample.pixels for sample in batch]).to(device))
    losses, ious, start = [], [], 0
    for sample in batch:
        frames = len(sample.pixels)
        split = start + sample.references
        masks = sample.masks.to(device)
        references = References(
            features=features[start:split],
            masks=masks[: sample.references],
            object_ids=tuple(range(1, masks.shape[1] + 1)),
        )
        loss, iou = _group_loss(model, references, features[split : start + frames], masks[sample.references :])
        losses.append(loss)
        ious.append(iou)
        start += frames
    return torch.stack(losses).mean(), float(torch.cat(ious).mean())


def _group_loss(
    model: Tracker, references: References, targets: VisionFeatures, truth: Tensor
) -> tuple[Tensor, Tensor]:
    objects = truth.shape[1]
    bank = project_bank(model, build_memory_bank(model, references, chunk=64))
    conditioned = condition_shared(model, targets.embedding, bank)
    sparse = model.no_prompt_tokens.expand(conditioned.shape[0], -1, -1, -1)
    candidates = decode_candidates(model, conditioned + model.no_prompt_dense, sparse)
    vectors = hypernetworks(model, candidates.mask_tokens)
    upscaled = upscale(model, candidates.image, targets, objects=objects).flatten(0, 1)
    logits = vectors @ upscaled  # [O*T, 3, H*W]
    size = targets.stride4.shape[-2:]
    wanted = F.interpolate(truth.float(), size=size, mode="area").transpose(0, 1).flatten(0, 1).flatten(2)
    wanted = wanted.reshape(logits.shape[0], 1, -1)  # [O*T, 1, H*W], soft at the borders
    present = truth.flatten(2).any(-1).T.flatten()

    per_candidate = 20 * _focal(logits, wanted) + _dice(logits, wanted)  # [O*T, 3]
    true_iou = _iou(logits.detach() > 0, wanted > 0.5)
    score = F.binary_cross_entropy_with_logits(candidates.object_scores, present.float())
    if not present.any():
        return score, true_iou[:0, 0]
    best = per_candidate.min(dim=1).values[present].mean()
    iou_error = F.l1_loss(candidates.ious[present], true_iou[present])
    return best + iou_error + score, candidates.best(true_iou)[present]


def _focal(logits: Tensor, wanted: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Return the sigmoid focal loss (RetinaNet) of each candidate."""
    wanted = wanted.expand_as(logits)
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    agreed = probability * wanted + (1 - probability) * (1 - wanted)
    weight = alpha * wanted + (1 - alpha) * (1 - wanted)
    return (weight * (1 - agreed) ** gamma * entropy).mean(-1)


def _dice(logits: Tensor, wanted: Tensor) -> Tensor:
    probability = logits.sigmoid()
    return 1 - (2 * (probability * wanted).sum(-1) + 1) / (probability.sum(-1) + wanted.sum(-1) + 1)


def _iou(predicted: Tensor, wanted: Tensor) -> Tensor:
    return (predicted & wanted).sum(-1) / (predicted | wanted).sum(-1).clamp(min=1)


def new_network(seed: int) -> Sam2VideoModel:
    torch.manual_seed(seed)
    network = Sam2VideoModel(toy_config())
    with torch.no_grad():  # HF starts these at zero, where they learn slowly in a short training.
        for block in network.memory_encoder.memory_fuser.layers:
            block.scale.fill_(0.1)
        for parameter in (network.memory_temporal_positional_encoding, network.no_object_pointer):
            parameter.normal_(std=0.02)
    return network.train()


def train(*, steps: int, learning_rate: float, seed: int, folder: Path, device: str) -> None:
    network = new_network(seed)
    model = Sam2(network, name="toy", device=device)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.998), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.08)
    loader = iter(DataLoader(TrainingGroups(), batch_size=None, num_workers=1, prefetch_factor=8))
    folder.mkdir(parents=True, exist_ok=True)
    began, recent = time.monotonic(), []
    with (folder / "training_log.csv").open("w", newline="") as file:
        log = csv.writer(file)
        log.writerow(["step", "loss", "iou", "learning_rate", "seconds"])
        for step in range(1, steps + 1):
            loss, iou = batch_loss(model, next(loader))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            recent.append((loss.item(), iou))
            if step % 50 == 0 or step == steps:
                mean_loss, mean_iou = np.mean(recent, axis=0)
                seconds = time.monotonic() - began
                log.writerow(
                    [step, f"{mean_loss:.4f}", f"{mean_iou:.4f}", f"{schedule.get_last_lr()[0]:.2e}", f"{seconds:.0f}"]
                )
                file.flush()
                recent.clear()
            if step % 500 == 0 or step == steps:
                weights = {name: value.contiguous() for name, value in average.module.state_dict().items()}
                save_file(weights, folder / "model.safetensors")
    card = {
        "steps": steps,
        "learning_rate": learning_rate,
        "seed": seed,
        "groups_per_step": GROUPS,
        "torch": torch.__version__,
    }
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")


def add_score(folder: Path, device: str, *, groups: int) -> None:
    """Score the folder's weights on groups of the validation set and note it in its card."""
    network = Sam2VideoModel(toy_config()).eval()
    network.load_state_dict(load_file(folder / "model.safetensors"))
    card = json.loads((folder / CARD).read_text())
    card["validation"] = validation_scores(Sam2(network, name="toy", device=device), groups=groups)
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")


def main() -> int:
    """Run the command; returns an exit code that the file's docstring lists."""
    parser = argparse.ArgumentParser(prog="python -m harness.train_toy", description="Train the toy model.")
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--learning-rate", type=float, default=1.2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, default=TOY_FOLDER, help="where weights and log go")
    parser.add_argument("--score-groups", type=int, default=50, help="validation groups to score the weights on")
    parser.add_argument("--only-score", action="store_true", help="score the folder's weights and train nothing")
    arguments = parser.parse_args()
    if not arguments.only_score:
        train(
            steps=arguments.steps,
            learning_rate=arguments.learning_rate,
            seed=arguments.seed,
            folder=arguments.folder,
            device=arguments.device,
        )
    add_score(arguments.folder, arguments.device, groups=arguments.score_groups)
    return 0
