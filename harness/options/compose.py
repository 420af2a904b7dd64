"""Hydra puts the options together: from words on the command line to grid points."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import redirect_stderr
from io import StringIO
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import hydra
from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from harness.options.composed import NODES, Job, points_of
from harness.options.config import register
from harness.options.points import Point, distinct
from strategies.errors import UserError, did_you_mean

RENAMED = {"strategy@reference": "strategy@baseline", "reference": "baseline", "check.baseline": "check.snapshot"}
"""Options by the names that they had before, which are accepted still."""
ANYWAY = "++"
"""Hydra's mark for an option that is set whether it is there or not."""
GROUPS = ("strategy", "strategy@baseline")
ONLY_TELL = {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc"}
"""Flags that run nothing."""


def compose(arguments: list[str], *, module: str = "harness") -> list[Point]:
    """The distinct points of a sweep; none where the words only ask for help or the like, which Hydra has answered.

    module: whose command line this is, for the points' commands. Nothing is measured yet, so one bad value costs no
    time. UserError, in one sentence, for whatever can't be composed.
    """
    arguments = [_renamed(word) for word in arguments]
    try:
        jobs = _jobs(arguments, module)
        if jobs and jobs[0].composed.sweeps:
            jobs = [job for words in jobs[0].composed.sweeps for job in _jobs(_joined(words, arguments), module)]
        return distinct(points_of(jobs))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explained(error)) from error


def _jobs(arguments: list[str], module: str) -> list[Job]:
    register()
    jobs: list[Job] = []

    @hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")
    def collect(composed: DictConfig) -> None:
        runtime = HydraConfig.get()
        strategy, baseline = (str(runtime.runtime.choices[group]) for group in GROUPS)
        jobs.append(
            Job(
                strategy=strategy,
                baseline=baseline,
                composed=composed,
                usual=usual(runtime, composed, (strategy, baseline)),
                overrides=tuple(_as_typed(word) for word in runtime.overrides.task),
                module=module,
            )
        )

    yamls: dict[tuple[str, ...], dict[str, Any]] = {}

    def usual(runtime: HydraConf, composed: DictConfig, choices: tuple[str, str]) -> dict[str, Any]:
        """The nodes of both strategies as their YAMLs give them; where more than those may have set them, from anew."""
        if composed.experiment is None and not any(_of_strategy(word) for word in runtime.overrides.task):
            return _nodes(composed)
        search = [word for word in runtime.overrides.hydra if _option(word) == "hydra.searchpath"]
        if choices not in yamls:
            loader = GlobalHydra.instance().config_loader()
            named = [f"{group}={name}" for group, name in zip(GROUPS, choices, strict=True)]
            yamls[choices] = _nodes(loader.load_configuration("config", [*named, *search], run_mode=RunMode.RUN))
        return yamls[choices]

    flags = [] if ONLY_TELL & set(arguments) else ["--multirun"]
    argv = sys.argv
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come here instead of being printed by Hydra
    with TemporaryDirectory(prefix="sambatch-") as scratch:  # Hydra wants a folder before anything is checked
        words = [word for word in arguments if word not in ("--multirun", "-m")]
        scratch_dir = f"hydra.sweep.dir={scratch}"
        sys.argv = [f"python -m {module}", *flags, *words, scratch_dir]
        told = StringIO()
        try:
            # Hydra's sweeper composes every job to see whether it can be, and again to launch it, which is enough.
            with redirect_stderr(told), patch.object(Sweeper, "validate_batch_is_legal"):
                collect()
            sys.stderr.write(told.getvalue())
        except SystemExit as end:  # of Hydra's parser of flags, which also prints how it is used
            if not end.code:
                raise
            said = told.getvalue().rpartition("error: ")[2].replace(f" {scratch_dir}", "").strip()
            raise UserError(f"{said}; options are written as KEY=VALUE, and --help tells them") from None
        except ValueError as error:  # such as an option without a name
            raise UserError(f"the options can't be composed ({error}); give each as KEY=VALUE") from error
        finally:
            sys.argv = argv
    return jobs


def _nodes(composed: DictConfig) -> dict[str, Any]:
    """Both strategies' options, with their interpolations."""
    return {node: OmegaConf.to_container(composed[node]) for node in NODES}


def _renamed(word: str) -> str:
    """A word of the command line, its option by today's name; of ``reference.x=1`` the part before the dot.

    An option of a strategy becomes one that Hydra takes whether it is in the YAML or not: the constructor knows it.
    """
    mark = word[: len(word) - len(word.lstrip("+~"))]
    option, equals, value = word[len(mark) :].partition("=")
    for old, new in RENAMED.items():
        if equals and (option == old or option.startswith(f"{old}.")):
            option = f"{new}{option.removeprefix(old)}"
    if equals and not mark and _of_strategy(option):
        mark = ANYWAY
    return f"{mark}{option}{equals}{value}"


def _as_typed(word: str) -> str:
    """A word as it can be given again."""
    return word.removeprefix(ANYWAY) if _of_strategy(word) else word


def _of_strategy(word: str) -> bool:
    """Whether it sets an option of the strategy or of the baseline, as ``strategy.piece=4``."""
    return _option(word).startswith(tuple(f"{node}." for node in NODES))


def _joined(sweep: str, typed: list[str]) -> list[str]:
    """Words of one of several sweeps, and what was typed, which goes before; and no more sweeps in that one."""
    said = {_option(word) for word in typed}
    try:
        listed = [_renamed(word) for word in shlex.split(sweep) if _option(_renamed(word)) not in said]
    except ValueError as error:
        raise UserError(
            f"sweeps= holds {sweep!r}, which can't be split into words ({error}); write it as typed"
        ) from error
    return [*listed, *(word for word in typed if _option(word) != "sweeps"), "sweeps=[]"]


def _option(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _explained(error: Exception) -> str:
    """Hydra's and OmegaConf's messages as one sentence that names the option."""
    cause = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    match error:
        case MissingConfigException() if error.options is not None and error.missing_cfg_file:
            group, _, name = error.missing_cfg_file.rpartition("/")
            return f"{group}={name} is not known; {did_you_mean(name, error.options)}valid: {', '.join(error.options)}"
        case OverrideParseException():
            return f"{error.override} can't be read as KEY=VALUE ({lines[0]}); quote values that hold , = [ or spaces"
        case MissingMandatoryValue():
            return f"{error.full_key}= is missing: give it a value"
        case ConfigCompositionException() if isinstance(cause, ConfigAttributeError | ConfigKeyError):
            wrong = lines[0].split("'")[1]
            parent = wrong.rpartition(".")[0]
            valid = sorted(str(name) for name in cause.parent_node or () if name != "hydra")
            names = [f"{parent}.{name}" if parent else name for name in valid]
            return f"{wrong}= is not an option; {did_you_mean(wrong, names)}valid: {', '.join(names)}"
        case ConfigCompositionException() if cause is not None and lines[0].startswith("Error merging override "):
            return f"{lines[0].removeprefix('Error merging override ')} is not valid: {str(cause).splitlines()[0]}"
    return "; ".join(lines)
