"""``python -m harness``: Hydra composes the grid, the sweep measures it, the report tells it.

Exit codes: 0 all points ok or skipped; 1 some point ended otherwise; 2 bad input; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from rich.console import Console

from harness.config import HarnessConfig, register
from harness.points import Point, distinct
from harness.progress import Progress, print_table
from harness.results import RunFolder
from harness.sources import open_groups
from harness.sweep import resolve_device, run_sweep
from strategies.errors import UserError, did_you_mean

ONLY_TELL = {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc"}
"""Flags that run nothing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(arguments)
    except UserError as error:
        _complain(str(error))
        return 2
    except (HydraException, OmegaConfBaseException) as error:
        _complain(_explained(error))
        return 2
    except KeyboardInterrupt:
        return 130


def _run(arguments: list[str]) -> int:
    jobs = _compose(arguments)
    if not jobs:  # --help and its like
        return 0
    points = distinct([job.point() for job in jobs])
    _check_inputs(points)
    config = points[0].config
    reporter = _reporter(config.reporter)
    run = _run_folder(Path(config.results) / f"{datetime.now():%Y%m%d-%H%M%S-%f}-{config.name}")
    code = 0
    refused: UserError | None = None
    try:
        with Progress(len(points)) as progress:
            run_sweep(points, run, progress)
    except KeyboardInterrupt:
        code = 130
    except UserError as error:
        refused = error
    if run.rows:
        print_table(run.rows)
        print(f"results: {run.path}" if reporter is None else f"report: {reporter(run.path)}")
    if refused is not None:
        raise refused
    failed = any(row["status"] not in ("ok", "skipped") for row in run.rows)
    return code or int(failed)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One job as Hydra composed it, not yet checked."""

    strategy: str
    composed: DictConfig
    overrides: tuple[str, ...]

    def point(self) -> Point:
        config = OmegaConf.to_object(self.composed)
        options = OmegaConf.to_container(self.composed, resolve=True)
        assert isinstance(config, HarnessConfig)
        assert isinstance(options, dict)
        return Point(
            strategy=self.strategy,
            config=config,
            options={str(key): value for key, value in options.items()},
            overrides=self.overrides,
        )


def _compose(arguments: list[str]) -> list[_Job]:
    """Every job of the sweep; nothing is measured yet, so one bad value costs no time."""
    register()
    jobs: list[_Job] = []

    @hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")
    def collect(composed: DictConfig) -> None:
        runtime = HydraConfig.get()
        jobs.append(
            _Job(
                strategy=str(runtime.runtime.choices["strategy"]),
                composed=composed,
                overrides=tuple(runtime.overrides.task),
            )
        )

    flags = [] if ONLY_TELL & set(arguments) else ["--multirun"]
    argv = sys.argv
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come here instead of being printed by Hydra
    with TemporaryDirectory(prefix="sambatch-") as scratch:  # Hydra wants a folder before anything is checked
        words = [word for word in arguments if word not in ("--multirun", "-m")]
        sys.argv = ["python -m harness", *flags, *words, f"hydra.sweep.dir={scratch}"]
        try:
            collect()
        except ValueError as error:  # such as an option without a name
            raise UserError(f"the options can't be composed ({error}); give each as KEY=VALUE") from error
        finally:
            sys.argv = argv
    return jobs


def _run_folder(path: Path) -> RunFolder:
    try:
        return RunFolder(path)
    except OSError as error:
        raise UserError(
            f"results={path.parent} can't be written to ({error.strerror}); give another folder as results=FOLDER"
        ) from error


def _check_inputs(points: Sequence[Point]) -> None:
    """Everything about devices and data that can be known before the first point is measured."""
    for config in {(point.workload, point.config.objects): point.config for point in points}.values():
        resolve_device(config.device)
        open_groups(config)


def _reporter(name: str | None) -> Callable[[Path], Path] | None:
    """The configured function, by its name: the harness knows nothing of reports."""
    if name is None:
        return None
    module, _, function = name.rpartition(".")
    try:
        reporter: Callable[[Path], Path] = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"reporter={name} can't be imported ({error}); give module.function, or null") from error
    return reporter


def _complain(sentence: str) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"error: {sentence}", markup=False)


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
            valid = sorted(map(str, cause.parent_node or ()))
            names = [f"{parent}.{name}" if parent else name for name in valid]
            return f"{wrong}= is not an option; {did_you_mean(wrong, names)}valid: {', '.join(names)}"
        case ConfigCompositionException() if cause is not None and lines[0].startswith("Error merging override "):
            return f"{lines[0].removeprefix('Error merging override ')} is not valid: {str(cause).splitlines()[0]}"
    return "; ".join(lines)
