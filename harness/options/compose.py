"""Hydra puts the options together: from words on the command line to grid points."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import fields, is_dataclass

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from harness.options.command import composed_jobs
from harness.options.composed import NODES, Job, no_option
from harness.options.config import HarnessConfig
from harness.options.flags import explicit, only_prints, without_cfg_job
from harness.options.hydra_errors import explained, not_an_option
from harness.options.loader import GROUPS
from harness.options.points import Point, as_yaml, distinct
from harness.options.shipped import OF_STREAMS, read_by_strategies
from harness.options.typed import as_typed, quoted, renamed, set_by, with_added_experiment
from strategies.errors import UserError, did_you_mean


def compose(arguments: list[str], *, module: str = "harness") -> list[Point]:
    """Compose the distinct points of a sweep; there are none where a flag asks to print something instead.

    ``--cfg job`` prints the options of every point, and of other flags Hydra takes care.
    module: the module whose command line this is, for the points' commands. Nothing is measured yet, so one bad value
    costs no time. Raises UserError, with one sentence, for whatever can't be composed.
    """
    arguments = explicit([renamed(word) for word in arguments])
    without = without_cfg_job(arguments)
    if without is not None:
        print(as_yaml(compose(without, module=module)), end="")
        return []
    arguments = [quoted(word) for word in arguments]
    try:
        jobs = _jobs(arguments, module)
        if jobs and jobs[0].composed.sweeps:
            jobs = [job for words in _sweeps(jobs[0]) for job in _jobs(_joined(words, arguments), module)]
        if not jobs and not only_prints(arguments):
            raise UserError("the options sweep nothing: a glob(...) or range(...) in them has no value; give it one")
        return distinct(_points_of(jobs))
    except YAMLError as error:
        raise UserError(f"a YAML file can't be read ({' '.join(str(error).split())}); mend it") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explained(error, arguments)) from error


def _sweeps(job: Job) -> list[str]:
    """Return the words of each of several sweeps in one. Raises UserError where they are no list of texts."""
    sweeps = job.composed.sweeps
    if OmegaConf.is_config(sweeps):
        sweeps = OmegaConf.to_container(sweeps, resolve=True)
    if not isinstance(sweeps, list) or not all(isinstance(words, str) for words in sweeps):
        raise UserError(f"sweeps={sweeps} is not valid: give a list of texts, each as typed after python -m harness")
    return sweeps


def _jobs(arguments: list[str], module: str) -> list[Job]:
    arguments = with_added_experiment(arguments)
    named = any(set_by(word) == "strategy" and "glob(" not in word for word in arguments)
    added = _baseline_of_streams(arguments)
    return [
        Job(
            strategy=str(one.choices[GROUPS[0]]),
            baseline=str(one.choices[GROUPS[1]]),
            composed=one.config,
            usual=one.usual,
            overrides=tuple(as_typed(word) for word in one.words if word not in added),
            module=module,
            named=named,
        )
        for one in composed_jobs([*arguments, *added], module)
    ]


def _baseline_of_streams(arguments: list[str]) -> list[str]:
    """Return the words by which streams have a baseline strategy for streams where the command line names none."""
    given = any(set_by(word) == "strategy@baseline" for word in arguments)
    streamed = any(word.lstrip("+") in ("scenario=stream", "scenario='stream'") for word in arguments)
    return [f"strategy@baseline={OF_STREAMS}"] if streamed and not given else []


def _joined(sweep: str, typed: list[str]) -> list[str]:
    """Return the words of one of several sweeps with those that were typed, which win, and without further sweeps."""
    given = {set_by(word) for word in typed}
    try:
        listed = [renamed(word) for word in shlex.split(sweep) if set_by(renamed(word)) not in given]
    except ValueError as error:
        raise UserError(
            f"sweeps= holds {sweep!r}, which can't be split into words ({error}); write it as typed"
        ) from error
    return [*listed, *(word for word in typed if set_by(word) != "sweeps"), "sweeps=[]"]


def _points_of(jobs: Sequence[Job]) -> list[Point]:
    """Return the points of a sweep's jobs.

    An option of a strategy, as ``strategy.piece=4``, applies to the strategies that have it. Raises UserError where
    none has it, or where an option can't have its value.
    """
    jobs = [job for job in jobs if job.named or job.fits]
    nodes = [node for job in jobs for node in job.nodes]
    _check_added(jobs)
    for key in NODES:
        mine = [node for node in nodes if node.key == key]
        for name in dict.fromkeys(name for node in mine for name in sorted(node.typed)):
            asked = [node for node in mine if name in node.typed]
            if all(name in node.unknown for node in asked):
                raise UserError(no_option(f"{key}.{name}", asked))
    fitting = [job.without([f"{node.key}.{name}" for node in job.nodes for name in node.unknown]) for job in jobs]
    return [job.without(job.unread).point() for job in fitting]


def _check_added(jobs: Sequence[Job]) -> None:
    """Refuse options that were added, as by ``+timming.width=1``, and that nothing in the sweep reads.

    What files add is not looked at: it may be there for other sweeps, or for what the command line has overridden.
    """
    read = {name for job in jobs for name in job.added.keys() - job.unread}
    valid = sorted({*HarnessConfig.__dataclass_fields__, *read, *read_by_strategies()})
    for job in jobs:
        for name in sorted(job.unread - read):
            given = f"{job.added[name]} sets an option that nothing reads"
            raise UserError(f"{given}; {did_you_mean(name, valid)}valid: {', '.join(valid)}")
        for section in ("data", "model"):
            _check_added_to(section, job.composed)


def _check_added_to(section: str, composed: DictConfig) -> None:
    """Refuse options that were added to a section, as by ``+data.grops=5``, where it has a schema that lacks them."""
    kind = OmegaConf.get_type(composed, section) if section in composed else None
    if not is_dataclass(kind):
        return
    valid = sorted(f"{section}.{field.name}" for field in fields(kind))
    for name in (f"{section}.{name}" for name in composed[section]):
        if name not in valid:
            raise UserError(not_an_option(name, valid))
