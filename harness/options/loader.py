"""Hydra's loader of options, which does once for all jobs what Hydra does anew for each."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.defaults_list import DefaultsList, create_defaults_list
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.options.composed import NODES
from harness.options.copies import copied, packed, unpacked
from harness.options.sources import Repository
from harness.options.typed import EXPERIMENT, as_typed
from harness.options.wrong_values import given_word
from strategies.errors import UserError

CONFIG = "config"
"""The name of the file in ``conf/`` that chooses the others."""
GROUPS = ("strategy", "strategy@baseline")
"""The groups whose files are strategies."""
SEARCH_PATH = "hydra.searchpath"


@dataclass(frozen=True, kw_only=True)
class Composed:
    """The options of one job, without Hydra's own.

    choices: the names of the files that were chosen, by group. words: those that chose them or set options. usual: the
    options of both strategies as their files alone give them, with their interpolations.
    """

    config: DictConfig
    choices: Mapping[str, Any]
    words: tuple[str, ...]
    usual: Mapping[str, Any]


class Parser(OverridesParser):
    """Parses a word once, because the jobs of a sweep have most of their words in common."""

    def parse_rule(self, s: str, rule_name: str) -> Any:
        return copy.copy(_parsed(s, rule_name))  # Whoever asked for it is noted in it.


@lru_cache(maxsize=4096)
def _parsed(word: str, rule: str) -> Any:
    return OverridesParser.create().parse_rule(word, rule)


class Loader(ConfigLoaderImpl):
    """Loads the options of commands that search the same folders. It raises what Hydra raises."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self._repositories: dict[tuple[str | None, ...], Repository] = {}
        self._listed: dict[tuple[object, ...], DefaultsList] = {}
        self._merged: dict[tuple[object, ...], bytes] = {}
        self._searched: list[str] = []

    @property
    def unchanged(self) -> bool:
        """Whether what was read is still what would be read."""
        return all(repository.unchanged for repository in self._repositories.values())

    def sweep(self, words: list[str], config_name: str = CONFIG) -> list[list[str]]:
        """Return the words of each job of a command line."""
        self.ensure_main_config_source_available()
        with _raising_as_hydra():
            parsed, repository = self._parse_overrides_and_create_caching_repo(config_name, words)
            self.validate_sweep_overrides_legal(parsed, run_mode=RunMode.MULTIRUN, from_shell=True)
            choosing = [word for word in parsed if not word.is_sweep_override() and _chooses(word, repository)]
            merged = unpacked(self._as_in_files(config_name, choosing, repository, whole=True))
            self._apply_overrides_to_config(
                [word for word in parsed if not word.is_sweep_override() and word not in choosing], merged
            )
        always = [str(word.input_line) for word in parsed if word.is_hydra_override()]
        task = [str(word.input_line) for word in parsed if not word.is_hydra_override()]
        swept = [
            f"{option}={value}" for option, value in (OmegaConf.select(merged, "hydra.sweeper.params") or {}).items()
        ]
        self._searched = [str(word.input_line) for word in parsed if word.get_key_element() == SEARCH_PATH]
        try:
            jobs = Parser.create(config_loader=self).parse_overrides([*swept, *task])
            return [[*always, *job] for batch in BasicSweeper.split_arguments(jobs, None) for job in batch]
        finally:
            self._searched = []

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        """Return the names of a group's files, for ``glob``, in the folders that the sweep's words name, too."""
        searched = self._searched if overrides is None else overrides
        return super().get_group_options(group_name, results_filter, config_name or CONFIG, searched)

    def job(self, words: Sequence[str], config_name: str = CONFIG) -> Composed:
        """Return the options of one job.

        Jobs that choose the same files get copies of the same options, before their own words are applied. Raises
        UserError, too, where the words leave out a strategy, or set it to what is none.
        """
        with _raising_as_hydra():
            parsed, repository = self._parse_overrides_and_create_caching_repo(config_name, list(words))
            self.validate_sweep_overrides_legal(parsed, run_mode=RunMode.RUN, from_shell=True)
            choosing = [word for word in parsed if _chooses(word, repository)]
            config = unpacked(self._as_in_files(config_name, choosing, repository))
            mine = [word for word in parsed if not word.is_hydra_override()]
            setting = [word for word in mine if word not in choosing]
            self._apply_overrides_to_config(setting, config)
        choices = self._list(config_name, choosing, repository).overrides.known_choices
        task = tuple(
            str(word.input_line)
            for word in parsed
            if not word.is_hydra_override() or word.get_key_element() == SEARCH_PATH
        )
        if OmegaConf.is_config(config.experiment):
            raise UserError(f"the YAML of {EXPERIMENT}={choices[EXPERIMENT]} has to begin with # @package _global_")
        for group, node in zip(GROUPS, NODES, strict=True):
            if choices.get(group) is None:
                raise UserError(f"no strategy is chosen for {group}=: give one, as {group}=direct")
            if not OmegaConf.is_dict(config[node]):
                given = given_word(node, config[node])
                advice = f"{group}=NAME on the command line chooses one, and {node}.OPTION=VALUE sets an option of it"
                raise UserError(f"{given} is not valid where a strategy's options stand: {advice}")
        usual = config
        others = (word for word in choosing if word.key_or_group != GROUPS[0])
        if any(others) or any(word.key_or_group.split(".")[0] in NODES for word in setting):
            alone = Parser.create().parse_overrides([f"{group}={choices[group]}" for group in GROUPS])
            usual = unpacked(self._as_in_files(CONFIG, alone, repository))
        nodes = {node: OmegaConf.to_container(usual[node]) for node in NODES}
        return Composed(config=config, choices=choices, words=task, usual=nodes)

    def _as_in_files(
        self, config_name: str, choosing: list[Override], repository: IConfigRepository, *, whole: bool = False
    ) -> bytes:
        """Return the options as the chosen files give them, packed. whole: with Hydra's own."""
        key = (config_name, id(repository), whole, *(word.input_line for word in choosing))
        if key not in self._merged:
            files = self._list(config_name, choosing, repository, may_miss=whole).defaults
            if not whole:
                files = [file for file in files if not str(file.config_path).startswith("hydra/")]
            config = self._compose_config_from_defaults_list(files, repository)
            if not whole:
                config.pop("hydra", None)
            OmegaConf.clear_cache(config)
            OmegaConf.set_struct(config, True)
            self._merged[key] = packed(config)
        return self._merged[key]

    def _list(
        self, config_name: str, choosing: list[Override], repository: IConfigRepository, *, may_miss: bool = False
    ) -> DefaultsList:
        key = (config_name, id(repository), may_miss, *(word.input_line for word in choosing))
        if key not in self._listed:
            self._listed[key] = create_defaults_list(
                repository, config_name, choosing, prepend_hydra=True, skip_missing=may_miss
            )
        return self._listed[key]

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        parsed = Parser.create().parse_overrides(overrides)
        key = (config_name, *(word.input_line for word in parsed if word.get_key_element() == SEARCH_PATH))
        if key not in self._repositories:
            repository = Repository(self.config_search_path)
            self._process_config_searchpath(config_name, parsed, repository)
            self._repositories[key] = repository
        for word in parsed:
            _take_as_name(word, self._repositories[key])
        return parsed, self._repositories[key]

    def _load_single_config(self, default: ResultDefault, repo: IConfigRepository) -> ConfigResult:
        loaded = copy.copy(super()._load_single_config(default, repo))
        loaded.config = copied(loaded.config)  # What is composed takes the nodes that it is given for its own.
        return loaded


_last: dict[tuple[tuple[str, str], ...], Loader] = {}


def loader_of(config_search_path: ConfigSearchPath) -> Loader:
    """Return the loader of the command before, if it searched the same folders and no file in them has changed."""
    key = tuple((str(one.provider), str(one.path)) for one in config_search_path.get_path())
    loader = _last.get(key)
    if loader is None or not loader.unchanged:
        loader = Loader(config_search_path)
    _last.clear()
    _last[key] = loader
    return loader


@contextmanager
def _raising_as_hydra() -> Iterator[None]:
    try:
        yield
    except OmegaConfBaseException as error:
        raise ConfigCompositionException().with_traceback(sys.exc_info()[2]) from error


def _take_as_name(word: Override, repository: IConfigRepository) -> None:
    """Let a word choose a file whose name reads as a number or the like, as ``model=7`` does."""
    name = str(word.input_line).partition("=")[2]
    if not isinstance(word.value(), str | list | dict) and name in repository.get_group_options(word.key_or_group):
        word._value = name


def _chooses(word: Override, repository: IConfigRepository) -> bool:
    """Return whether a word chooses a file of a group, or none, instead of setting an option.

    Raises UserError where it would choose by what is no name.
    """
    group, value = word.key_or_group, word.value()
    if not group or not repository.group_exists(group) or isinstance(value, dict):
        return False
    names = repository.get_group_options(group)
    if isinstance(value, list) and group not in GROUPS and all(name in names for name in value):
        return True
    if isinstance(value, int | float | list) or (value is None and not word.is_delete()):
        raise UserError(f"{as_typed(str(word.input_line))} is not known; valid: {', '.join(names)}")
    return True
