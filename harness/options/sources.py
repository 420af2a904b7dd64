"""Folders of YAML files that remember what they were asked for, so that what was read can be used again."""

from __future__ import annotations

import os
from pathlib import Path

from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

from harness.options.shipped import no_mapping
from strategies.errors import UserError

State = tuple[int, int, int] | None
"""When a file or folder changed, its size and its number; None where there is none."""


class Folder(FileConfigSource):
    """A folder of YAML files. seen: the state of each path in it that was looked for, before it was read."""

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        self.seen: dict[str, State] = {}

    def load_config(self, config_path: str) -> ConfigResult:
        file = self._normalize_file_name(config_path)
        self._look(file)
        try:
            found = super().load_config(config_path)
        except (OSError, UnicodeDecodeError) as error:
            if isinstance(error, HydraException):
                raise
            raise UserError(f"{no_mapping(Path(self.path) / file)} ({' '.join(str(error).split())})") from error
        if not OmegaConf.is_dict(found.config):
            raise UserError(no_mapping(Path(self.path) / file))
        return found

    def is_config(self, config_path: str) -> bool:
        self._look(self._normalize_file_name(config_path))
        return super().is_config(config_path)

    def is_group(self, config_path: str) -> bool:
        self._look(config_path)
        return super().is_group(config_path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        self._look(config_path)
        return super().list(config_path, results_filter)

    @property
    def unchanged(self) -> bool:
        return all(_state(path) == state for path, state in self.seen.items())

    def _look(self, config_path: str) -> None:
        path = os.path.join(self.path, config_path)  # noqa: PTH118 - as Hydra joins them
        self.seen.setdefault(path, _state(path))


class Repository(CachingConfigRepository):
    """The files that a search path finds, each read once."""

    def __init__(self, search_path: ConfigSearchPath) -> None:
        self.delegate = _Folders(search_path)  # Hydra copies one, and every schema that it knows with it.
        self.cache: dict[str, ConfigResult | None] = {}

    @property
    def unchanged(self) -> bool:
        """Whether all would be read again as it was, as far as that can be known."""
        return all(map(_unchanged, self.get_sources()))


class _Folders(ConfigRepository):
    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        super().initialize_sources(config_search_path)
        folder = FileConfigSource.scheme()
        self.sources = [Folder(one.provider, one.path) if one.scheme() == folder else one for one in self.sources]


def _unchanged(source: ConfigSource) -> bool:
    if isinstance(source, Folder):
        return Path(source.path).is_absolute() and source.unchanged
    return source.provider in ("hydra", "schema")


def _state(path: str) -> State:
    try:
        found = os.stat(path)  # noqa: PTH116 - hundreds of paths are looked at
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
