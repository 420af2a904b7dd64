"""What the masks of a job depend on, kept beside them: a job goes on only with masks that are its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from harness.data.group import Group
from harness.options.points import Point
from harness.schema import StrictBool, StrictStr, Threads, fitted
from harness.store.atomic import write_whole
from strategies.errors import UserError
from strategies.models.tracker import Tracker

NAME = "job.json"
OTHER_FOLDER = "give another folder as out="
LATER = {
    "decode": "exact",
    "encode.compile": "false",
    "encode.channels_last": "false",
    "strategy.memory": "all",
    "strategy.kv": "own",
    "strategy.layers": "null",
}
"""Options that older jobs do not name, with the values that these were made with."""


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """options: in words, by their names. weights: a hash of those of the network's stages. other_weights: one of all
    others, which older jobs do not name. threads: the network's. groups: a hash of each group's references, by its
    name. chosen: how strategy and batch were chosen, in words, where the user left them open. decoding: how alike masks
    are to those of ``decode=exact``, in words, where that was measured. preview: whether it is one, whose
    place the next takes."""

    options: dict[StrictStr, StrictStr]
    weights: StrictStr
    threads: Threads
    groups: dict[StrictStr, StrictStr]
    chosen: StrictStr = ""
    decoding: StrictStr = ""
    other_weights: StrictStr = ""
    preview: StrictBool = False

    def write(self, out: Path) -> None:
        write_whole(out / NAME, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")


def stored(out: Path) -> Fingerprint | None:
    """Return the fingerprint of the job whose masks are in a folder; None where the folder is new or empty.

    Raises UserError where the folder holds other things, or the fingerprint can't be read.
    """
    try:
        text = (out / NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        if out.is_dir() and any(path.name[0] != "." for path in out.iterdir()):
            raise UserError(f"out={out} is there already and holds no job of harness.label: {OTHER_FOLDER}") from None
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{out / NAME} can't be read ({error}): {OTHER_FOLDER}") from error
    try:
        return fitted(Fingerprint, json.loads(text))
    except ValueError as error:
        raise UserError(f"{out / NAME} is damaged, so whose masks are there can't be known: {OTHER_FOLDER}") from error


def options_of(point: Point, device: torch.device) -> dict[str, str]:
    """Return the options that masks depend on, as words by the names that users give them."""
    config = point.config
    plain = {
        "model": config.model.name,
        "strategy": point.strategy,
        **{f"strategy.{name}": value for name, value in sorted(config.strategy.items()) if name != "_target_"},
        "batch": config.batch,
        "objects": config.objects,
        "dtype": config.dtype,
        "device": device.type,
        "decode": config.label.decode,
        "encode.compile": config.encode.compile,
        "encode.channels_last": config.encode.channels_last,
    }
    return {name: json.dumps(value) if not isinstance(value, str) else value for name, value in plain.items()}


def weights_of(model: Tracker) -> str:
    """Return a hash of the weights of the network's stages, wherever they were read from."""
    stages = vars(model.stage_modules).values()
    return _hash_of(named for stage in stages for named in stage.state_dict().items())


def other_weights_of(model: Tracker) -> str:
    """Return a hash of the network's other weights."""
    return _hash_of(model.other_weights.items())


def _hash_of(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def references_of(group: Group) -> str:
    """Return a hash of the references' files. Raises UserError where one can't be read."""
    digest = hashlib.sha256()
    for frame in group.references:
        for path in filter(None, (frame.picture, frame.mask)):
            try:
                content = path.read_bytes()
            except OSError as error:
                raise UserError(f"{path} cannot be opened ({error.strerror}): check it and its permissions") from error
            digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def check_same(
    before: Fingerprint,
    *,
    options: Mapping[str, str],
    weights: str,
    other_weights: str,
    threads: int | None,
    out: Path,
) -> None:
    """Raise UserError where a job's masks were made with other options or another network.

    threads: those that are asked for, None where those of before will do.
    """
    if threads is not None:
        options = {**options, "label.threads": str(threads)}
        before = replace(before, options={**before.options, "label.threads": str(before.threads)})
    earlier = {name: value for name, value in LATER.items() if name in options} | before.options
    names = [name for name in {**earlier, **options} if earlier.get(name) != options.get(name)]
    if names:
        differing = _listed(f"{name} was {earlier.get(name)} and is {options.get(name)}" for name in names)
        raise UserError(f"the masks in {out} were made with other options ({differing}): give those, or {OTHER_FOLDER}")
    if before.weights != weights or before.other_weights not in ("", other_weights):
        raise UserError(
            f"the masks in {out} were made with other weights: give those as model.weights=, or {OTHER_FOLDER}"
        )


def check_references(before: Fingerprint, groups: Mapping[str, str], out: Path) -> None:
    """Raise UserError where a job's masks were made from other references."""
    changed = [name for name, found in groups.items() if before.groups.get(name, found) != found]
    if changed:
        raise UserError(
            f"the masks in {out} were made from other references of group {_listed(changed)}: remove {out} to "
            f"begin anew, or {OTHER_FOLDER}"
        )


def _listed(words: Iterable[str], most: int = 3) -> str:
    found = list(words)
    return ", ".join(found[:most]) + (", ..." if len(found) > most else "")
