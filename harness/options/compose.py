"""Hydra puts the options together: from words on the command line to grid points."""

from __future__ import annotations

import shlex
from difflib import get_close_matches

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from harness.options.command import composed_jobs
from harness.options.composed import Job, points_of
from harness.options.data import SOURCES
from harness.options.flags import explicit, only_prints, without_cfg_job
from harness.options.loader import GROUPS
from harness.options.points import Point, as_yaml, distinct
from harness.options.refusal import refusal
from harness.options.shipped import OF_STREAMS, shipped, strategies
from harness.options.typed import as_typed, quoted, renamed, set_by
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


def _explained(error: Exception) -> str:
    """Turn a message of Hydra or OmegaConf into one sentence that names the option."""
    cause = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    match error:
        case MissingConfigException() if error.options is not None and error.missing_cfg_file:
            group, _, name = error.missing_cfg_file.rpartition("/")
            return f"{group}={name} is not known; {did_you_mean(name, error.options)}valid: {', '.join(error.options)}"
        case OverrideParseException():
            word = as_typed(str(error.override))
            advice = "quote values that hold , = [ spaces or letters beyond ASCII"
            return f"{word} can't be read as KEY=VALUE ({lines[0]}); {advice}"
        case MissingMandatoryValue():
            return f"{error.full_key}= is missing: give it a value"
        case ConfigCompositionException() if isinstance(cause, ConfigAttributeError | ConfigKeyError):
            wrong = str(cause.full_key)  # The word may go on: of data.root.x= it is data.root= that is not there.
            parent = wrong.rpartition(".")[0]
            valid = sorted(str(name) for name in cause.parent_node or () if name != "hydra")
            names = [f"{parent}.{name}" if parent else name for name in valid]
            advice = f"valid: {', '.join(names)}" if names else f"{parent}= has none within"
            return f"{wrong}= is not an option; {_meant(wrong, names)}{advice}"
        case ConfigCompositionException() if isinstance(cause, OmegaConfBaseException) and lines[0].startswith(
            "Error merging override "
        ):
            return refusal(lines[0].removeprefix("Error merging override "), cause)
    return "; ".join(line.rstrip(".") for line in lines)


def _meant(wrong: str, valid: list[str]) -> str:
    """Return the beginning of a sentence that names what an option that is none may have been meant for."""
    if any(wrong in node for node in strategies().values()):
        return f"did you mean strategy.{wrong}? "
    if wrong.startswith("data."):
        return _meant_of_data(wrong.removeprefix("data."), [name.removeprefix("data.") for name in valid])
    return did_you_mean(wrong, valid)


def _meant_of_data(wrong: str, valid: list[str]) -> str:
    """Return the same of an option of the data, by its name there; it may be one of another source."""
    sources: dict[str, list[str]] = {}
    for name in SOURCES:
        for option in shipped(f"data/{name}.yaml")["data"]:
            sources.setdefault(option, []).append(f"data={name}")
    if wrong in sources:
        return f"with {' or '.join(sources[wrong])} it is one; "
    near = get_close_matches(wrong, valid, n=1) or get_close_matches(wrong, sources, n=1)
    if not near:
        return ""
    (option,) = near
    return f"did you mean data.{option}{'' if option in valid else f' with {sources[option][0]}'}? "
