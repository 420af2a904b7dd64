"""Hydra puts the options together: from words on the command line to grid points."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from io import StringIO
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import Any
from unittest.mock import patch

import hydra
from hydra._internal.hydra import Hydra
from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from harness.options.composed import NODES, Job, points_of
from harness.options.config import register
from harness.options.flags import explicit, lists_values, only_prints, without_cfg_job
from harness.options.own_conf import search_own_conf
from harness.options.points import Point, as_yaml, distinct
from harness.options.shipped import CONF, OF_STREAMS
from strategies.errors import UserError, did_you_mean

RENAMED = {"strategy@reference": "strategy@baseline", "reference": "baseline", "check.baseline": "check.snapshot"}
"""The former names of options, which are still accepted."""
ANYWAY = "++"
"""Hydra's mark for an option that is set whether or not it exists."""
GROUPS = ("strategy", "strategy@baseline")
SCRATCH = "sambatch-options-"
ABANDONED = 3600.0
"""Seconds after which nobody composes any more."""


def compose(arguments: list[str], *, module: str = "harness") -> list[Point]:
    """Compose the distinct points of a sweep; there are none where a flag asks to print something instead.

    ``--cfg job`` prints the options of every point, and of other flags Hydra takes care.
    module: the module whose command line this is, for the points' commands. Nothing is measured yet, so one bad value
    costs no time. Raises UserError, with one sentence, for whatever can't be composed.
    """
    arguments = explicit([_renamed(word) for word in arguments])
    without = without_cfg_job(arguments)
    if without is not None:
        print(as_yaml(compose(without, module=module)), end="")
        return []
    arguments = [_quoted(word) for word in arguments]
    try:
        jobs = _jobs(arguments, module)
        if jobs and jobs[0].composed.sweeps:
            jobs = [job for words in _sweeps(jobs[0]) for job in _jobs(_joined(words, arguments), module)]
        if not jobs and not only_prints(arguments):
            raise UserError("the options sweep nothing: a glob(...) or range(...) in them has no value; give it one")
        return distinct(points_of(jobs))
    except YAMLError as error:
        raise UserError(f"a YAML file can't be read ({' '.join(str(error).split())}); mend it") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explained(error)) from error


def _sweeps(job: Job) -> list[str]:
    """Return the words of each of several sweeps in one. Raises UserError where they are no list of texts."""
    sweeps = job.composed.sweeps
    if OmegaConf.is_config(sweeps):
        sweeps = OmegaConf.to_container(sweeps, resolve=True)
    if not isinstance(sweeps, list) or not all(isinstance(words, str) for words in sweeps):
        raise UserError(f"sweeps={sweeps} is not valid: give a list of texts, each as typed after python -m harness")
    return sweeps


def _jobs(arguments: list[str], module: str) -> list[Job]:
    register()
    search_own_conf()
    jobs: list[Job] = []
    named = any(_option(word) == "strategy" and "glob(" not in word for word in arguments)
    added = _baseline_of_streams(arguments)

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def collect(composed: DictConfig) -> None:
        runtime = HydraConfig.get()
        strategy, baseline = (str(runtime.runtime.choices[group]) for group in GROUPS)
        jobs.append(
            Job(
                strategy=strategy,
                baseline=baseline,
                composed=composed,
                usual=usual(runtime, composed, (strategy, baseline)),
                overrides=tuple(_as_typed(word) for word in runtime.overrides.task if word not in added),
                module=module,
                named=named,
            )
        )

    yamls: dict[tuple[str, ...], dict[str, Any]] = {}

    def usual(runtime: HydraConf, composed: DictConfig, choices: tuple[str, str]) -> dict[str, Any]:
        """Return both strategies' nodes as their YAMLs give them, composed anew where overrides may have set more."""
        if composed.experiment is None and not any(_of_strategy(word) for word in runtime.overrides.task):
            return _nodes(composed)
        search = [word for word in runtime.overrides.hydra if _option(word) == "hydra.searchpath"]
        if choices not in yamls:
            loader = GlobalHydra.instance().config_loader()
            named = [f"{group}={name}" for group, name in zip(GROUPS, choices, strict=True)]
            yamls[choices] = _nodes(loader.load_configuration("config", [*named, *search], run_mode=RunMode.RUN))
        return yamls[choices]

    printing = only_prints(arguments)
    flags = [] if printing else ["--multirun"]
    argv = sys.argv
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come here instead of being printed by Hydra
    with _scratch() as scratch:  # Hydra wants a folder before anything is checked
        words = [word for word in (*arguments, *added) if word not in ("--multirun", "-m")]
        scratch_dir = f"hydra.sweep.dir={scratch}"
        overrides = [word for word in words if "=" in word and not word.startswith("-")]
        others = [word for word in words if word not in overrides]  # Flags and their values may stand anywhere.
        if printing:  # What Hydra prints is of one point, with defaults where several values are listed.
            overrides = [word for word in overrides if not lists_values(word)]
        sys.argv = [f"python -m {module}", *flags, *others, *overrides, scratch_dir]
        errors = StringIO()
        try:
            with redirect_stderr(errors), _without_rehearsals(), _logging_as_it_was():
                collect()
            sys.stderr.write(errors.getvalue())
        except SystemExit as end:  # Hydra's parser of flags exits, after it has printed its usage.
            if not end.code:
                raise
            message = errors.getvalue().rpartition("error: ")[2].replace(f" {scratch_dir}", "").strip()
            raise UserError(f"{message}; options are written as KEY=VALUE, and --help tells them") from None
        except ValueError as error:  # Hydra raises it for an option without a name, for example.
            raise UserError(f"the options can't be composed ({error}); give each as KEY=VALUE") from error
        finally:
            sys.argv = argv
    return jobs


def _baseline_of_streams(arguments: list[str]) -> list[str]:
    """Return the words by which streams have a baseline strategy for streams where the command line names none."""
    given = any(_option(word) == "strategy@baseline" for word in arguments)
    streamed = any(word.lstrip("+") in ("scenario=stream", "scenario='stream'") for word in arguments)
    return [f"strategy@baseline={OF_STREAMS}"] if streamed and not given else []


@contextmanager
def _scratch() -> Iterator[str]:
    """Make a folder for a moment, and remove those that commands left which were killed while they composed."""
    try:
        for path in Path(gettempdir()).glob(f"{SCRATCH}*"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED:
                    shutil.rmtree(path, ignore_errors=True)
        folder = mkdtemp(prefix=SCRATCH)
    except OSError as error:
        raise UserError(
            f"no temporary folder can be made ({error.strerror or error}): point TMPDIR to a disk with room"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _without_rehearsals() -> Iterator[None]:
    """Keep Hydra from composing every job twice.

    Its sweeper does so to see that all can be composed, but nothing runs here before all are. And it looks whether the
    options name a mode, but a flag names it here.
    """
    with (
        patch.object(Sweeper, "validate_batch_is_legal", lambda sweeper, batch: None),
        patch.object(Hydra, "get_mode", lambda hydra, config_name, overrides: None),
    ):
        yield


@contextmanager
def _logging_as_it_was() -> Iterator[None]:
    """Take down what Hydra sets up to tell of itself with ``--info``, or else it would tell all that comes after."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def _nodes(composed: DictConfig) -> dict[str, Any]:
    """Return both strategies' options, with their interpolations."""
    return {node: OmegaConf.to_container(composed[node]) for node in NODES}


def _renamed(word: str) -> str:
    """Return a word of the command line with its option, or the part before the dot, by today's name.

    An option of a strategy is marked so that Hydra takes it whether or not it is in the YAML: the constructor knows it.
    """
    mark = word[: len(word) - len(word.lstrip("+~"))]
    option, equals, value = word[len(mark) :].partition("=")
    for old, new in RENAMED.items():
        if (equals or "~" in mark) and (option == old or option.startswith(f"{old}.")):
            option = f"{new}{option.removeprefix(old)}"
    if equals and not mark and _of_strategy(option):
        mark = ANYWAY
    return f"{mark}{option}{equals}{value}"


def _quoted(word: str) -> str:
    """Return a word whose value Hydra's grammar takes although it holds letters beyond ASCII, as a folder may.

    Values that may be quoted already, or are lists or the like, stay as they are.
    """
    option, equals, value = word.partition("=")
    if value.isascii() or set(value) & set("'\"[]{}()=\\"):
        return word
    quoted = ",".join(f"'{one}'" for one in value.split(","))
    return f"{option}{equals}{quoted}"


def _as_typed(word: str) -> str:
    """Return a word as it can be given again on a command line."""
    return word.removeprefix(ANYWAY) if _of_strategy(word) else word


def _of_strategy(word: str) -> bool:
    """Return whether a word sets an option of the strategy or of the baseline, as ``strategy.piece=4`` does."""
    return _option(word).startswith(tuple(f"{node}." for node in NODES))


def _joined(sweep: str, typed: list[str]) -> list[str]:
    """Return the words of one of several sweeps with those that were typed, which win, and without further sweeps."""
    given = {_option(word) for word in typed}
    try:
        listed = [_renamed(word) for word in shlex.split(sweep) if _option(_renamed(word)) not in given]
    except ValueError as error:
        raise UserError(
            f"sweeps= holds {sweep!r}, which can't be split into words ({error}); write it as typed"
        ) from error
    return [*listed, *(word for word in typed if _option(word) != "sweeps"), "sweeps=[]"]


def _option(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _explained(error: Exception) -> str:
    """Turn a message of Hydra or OmegaConf into one sentence that names the option."""
    cause = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    match error:
        case MissingConfigException() if error.options is not None and error.missing_cfg_file:
            group, _, name = error.missing_cfg_file.rpartition("/")
            return f"{group}={name} is not known; {did_you_mean(name, error.options)}valid: {', '.join(error.options)}"
        case OverrideParseException():
            word = _as_typed(str(error.override))
            advice = "quote values that hold , = [ spaces or letters beyond ASCII"
            return f"{word} can't be read as KEY=VALUE ({lines[0]}); {advice}"
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
