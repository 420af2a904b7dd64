"""Copies of configs by way of pickle, which takes a fifth of the time that OmegaConf's own copies take."""

from __future__ import annotations

import pickle
from typing import TypeVar

from omegaconf import Container, DictConfig

ConfigT = TypeVar("ConfigT", bound=Container)


def packed(config: DictConfig) -> bytes:
    """Return a config as it was at this moment, for many copies to be unpacked."""
    return pickle.dumps(config, pickle.HIGHEST_PROTOCOL)


def unpacked(config: bytes) -> DictConfig:
    """Return a copy of what was packed."""
    found = pickle.loads(config)
    assert isinstance(found, DictConfig)
    return found


def copied(config: ConfigT) -> ConfigT:
    """Return a copy of a whole config, which is no part of another."""
    found = pickle.loads(pickle.dumps(config, pickle.HIGHEST_PROTOCOL))
    assert isinstance(found, type(config))
    return found
