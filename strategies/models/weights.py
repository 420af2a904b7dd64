"""Loading of trained weights, which must be complete and those of the model that was asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from huggingface_hub.utils import logging as hub_logging
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from strategies.errors import UserError
from strategies.models.family import Family


def shipped(name: str, family: Family) -> PreTrainedModel:
    """Return the network of a model whose weights come with this project."""
    network = family.network(family.architecture(name))
    path = family.shipped[name]
    with _reading(name, str(path)):
        network.load_state_dict(load_file(path))
    return network


def published(name: str, family: Family) -> PreTrainedModel:
    """Return the checkpoint from the hub's cache, or from the hub where the cache lacks it.

    from_pretrained goes on asking a hub that does not respond for half a minute. One request without a retry says as
    much at once.
    """
    repository = family.repository(name)
    files = ("config.json", "model.safetensors")
    cached = all(isinstance(try_to_load_from_cache(repository, file), str) for file in files)
    if not cached:
        with _reading(name, repository), _quiet(downloading=True):
            get_hf_file_metadata(hf_hub_url(repository, files[0]))
    return pretrained(name, family, repository, local=cached)


def pretrained(name: str, family: Family, source: str, *, local: bool) -> PreTrainedModel:
    """Load the network from a folder or a repository of the hub. local: whether to do without the hub."""
    with _reading(name, source), _quiet(downloading=not local):
        if Path(source).is_dir():
            _check_config(Path(source) / "config.json")
        fields, _ = family.config.get_config_dict(source, local_files_only=local)
        fields = _section(name, family, source, fields)
        config = family.config.from_dict(fields)
        _check_architecture(name, family, source, config)
        _check_switches(name, family, source, config)
        # A checkpoint saved in another dtype would load in that; and a tensor of another shape is reported below.
        network, info = family.network.from_pretrained(
            source,
            config=config,
            local_files_only=local,
            dtype=torch.float32,
            use_safetensors=True,  # A pickle may run code.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    _check_complete(name, source, missing=info["missing_keys"], mismatched=info["mismatched_keys"])
    return network


def _check_config(path: Path) -> None:
    """Raise what transformers would be silent about, and take its defaults, or would trip over."""
    if not path.is_file():
        raise FileNotFoundError("it holds no config.json")
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return  # transformers says so.
    if not isinstance(content, dict):
        raise TypeError("its config.json is no JSON object")


def _section(name: str, family: Family, source: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the family's own configuration: all of them, or those of a section. Refuse other families.

    The config class of one family reads the configs of others without complaint, as they share names of fields (DESIGN
    section 3, trap 16).
    """
    expected, found = family.config.model_type, fields.get("model_type")
    within = family.within.get(str(found))
    section: dict[str, Any] = fields if within is None else fields.get(within, {})
    if section.get("model_type") != expected:
        raise UserError(
            f"the weights in {source} are of another family than model {name} (model_type is {found}, not "
            f"{expected}); give a folder of {family.title} weights as model.weights=FOLDER"
        )
    return section


def _check_architecture(name: str, family: Family, source: str, config: PreTrainedConfig) -> None:
    differing = _differences(family, config, family.architecture(name))
    if not differing:
        return
    differences = ", ".join(f"{field} is {found}, not {expected}" for field, found, expected in differing[:3])
    others = (other for other in family.names if not _differences(family, config, family.architecture(other)))
    meant = next(others, None)
    advice = f"use model={meant} with it" if meant else "give another folder as model.weights=FOLDER"
    raise UserError(f"the weights in {source} are not those of model {name} ({differences}); {advice}")


def _check_switches(name: str, family: Family, source: str, config: PreTrainedConfig) -> None:
    """Refuse a folder with tensors that its configuration denies: they would be left out, and nobody told of it.

    transformers does not count SAM2.1's among the unexpected ones where a configuration is SAM2's.
    """
    denied = {part: field for part, field in family.switched.items() if not getattr(config, field)}
    for tensor in _tensors_in(Path(source)) if denied else ():
        for part, field in denied.items():
            if part in tensor:
                raise UserError(
                    f"the weights in {source} are not those of model {name} ({tensor} is among them, and {field} is "
                    "False in their config.json); give another folder as model.weights=FOLDER"
                )


def _tensors_in(folder: Path) -> list[str]:
    """Return the names of the tensors that from_pretrained finds in a folder; none where that is no folder."""
    whole, parts = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        with safe_open(whole, framework="pt") as file:
            return list(file.keys())
    return list(json.loads(parts.read_text(encoding="utf-8"))["weight_map"]) if parts.is_file() else []


def _differences(family: Family, config: PreTrainedConfig, expected: PreTrainedConfig) -> list[tuple[str, Any, Any]]:
    """Return field, value and expected value, wherever the two compute something else."""
    found, wanted = _fields(family, config), _fields(family, expected)
    return [
        (path.rpartition(".")[2], found.get(path), value) for path, value in wanted.items() if found.get(path) != value
    ]


def _fields(family: Family, config: PreTrainedConfig, prefix: str = "") -> dict[str, Any]:
    """Return a configuration's fields that decide the arithmetic, by dotted path; sections come after plain fields."""
    general = PreTrainedConfig().to_dict()
    plain: dict[str, Any] = {}
    sections: dict[str, Any] = {}
    for name, value in vars(config).items():
        path = f"{prefix}{name}"
        if isinstance(value, PreTrainedConfig):
            sections |= _fields(family, value, f"{path}.")
        elif not name.startswith("_") and name not in general and path not in family.no_effect:
            plain[path] = list(value) if isinstance(value, tuple) else value
    return plain | sections


def _check_complete(name: str, source: str, *, missing: Collection[str], mismatched: Collection[Any]) -> None:
    """Refuse weights that transformers would fill up with drawn ones; what it leaves over is its own affair."""
    faults = []
    if missing:
        faults.append(f"{len(missing)} missing, such as {min(missing)}")
    if mismatched:
        # (name, shape there, shape here), or the name alone, by version
        names = [entry if isinstance(entry, str) else entry[0] for entry in mismatched]
        faults.append(f"{len(names)} of another shape, such as {min(names)}")
    if faults:
        raise UserError(
            f"the weights of model {name} in {source} are not complete (tensors: {'; '.join(faults)}); save them again "
            "with save_pretrained, or give another folder as model.weights=FOLDER"
        )


def check_finite(name: str, source: str, network: PreTrainedModel) -> None:
    """Refuse weights that are no numbers: every mask would be empty, and every comparison infinite."""
    broken = [path for path, tensor in network.state_dict().items() if not _finite(tensor)]
    if broken:
        raise UserError(
            f"the weights of model {name} in {source} hold NaN or infinities (tensors: {len(broken)}, such as "
            f"{min(broken)}); give another folder as model.weights=FOLDER"
        )


def _finite(tensor: Tensor) -> bool:
    """NaN is the least and the largest of whatever holds it, so one pass tells, in a twentieth of `isfinite`'s time."""
    return tensor.numel() == 0 or all(bool(value.isfinite()) for value in tensor.aminmax())


@contextmanager
def _reading(name: str, source: str) -> Iterator[None]:
    """Turn what goes wrong into one sentence with the way out."""
    try:
        yield
    except UserError:
        raise
    # Files of any content pass through json, safetensors, transformers, the hub and its HTTP client, and each
    # has exceptions of its own that share no base. All mean that these weights are not to be had; the cause is chained.
    except Exception as error:
        raise UserError(
            f"the weights of model {name} can't be read from {source} ({_first_line(error)}); download them where "
            "there is a network and give the folder as model.weights=FOLDER, or measure speed with model.weights=random"
        ) from error


def _first_line(error: Exception) -> str:
    """Return the error's first line, with the one that it announces, cut to a length that a sentence bears."""
    lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    line = " ".join(lines[:2] if lines[0].endswith(":") else lines[:1]).rstrip(".:")
    return line if len(line) <= 200 else f"{line[:200]}..."


@contextmanager
def _quiet(*, downloading: bool) -> Iterator[None]:
    """Keep warnings and bars of loading away from the caller's terminal; a download still shows its bar."""
    levels = transformers_logging.get_verbosity(), hub_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    hub_bars = not are_progress_bars_disabled()
    transformers_logging.set_verbosity(logging.CRITICAL)  # What it logs as an error, it raises as well.
    hub_logging.set_verbosity_error()
    if bars:
        transformers_logging.disable_progress_bar()  # the hub's as well
        _show_hub_bars(downloading and hub_bars)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(levels[0])
        hub_logging.set_verbosity(levels[1])
        if bars:
            transformers_logging.enable_progress_bar()  # the hub's as well
            _show_hub_bars(hub_bars)


def _show_hub_bars(shown: bool) -> None:
    if shown:
        enable_progress_bars()
    else:
        disable_progress_bars()
