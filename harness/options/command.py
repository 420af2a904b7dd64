"""Hydra reads a command line and splits it into jobs; where it would launch them, only their options are composed."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import Any
from unittest.mock import patch

import hydra
from hydra._internal import hydra as hydra_command
from hydra._internal.hydra import Hydra
from omegaconf import DictConfig

from harness.options.config import register
from harness.options.flags import lists_values, only_prints
from harness.options.loader import CONFIG, Composed, Loader, loader_of
from harness.options.own_conf import search_own_conf
from harness.options.shipped import CONF
from strategies.errors import UserError


def composed_jobs(arguments: list[str], module: str) -> list[Composed]:
    """Return the options of a command line's jobs, or of the first alone where they say that there are other sweeps.

    There are none where a flag asks to print something instead, which Hydra does. module: the module whose command line
    it is. Raises UserError for flags that can't be read, and what Hydra and OmegaConf raise for options.
    """
    register()
    search_own_conf()
    jobs: list[Composed] = []

    def collect(command: Hydra, *, config_name: str, overrides: list[str], **_: Any) -> None:
        loader = command.config_loader
        assert isinstance(loader, Loader)
        for words in loader.sweep(overrides, config_name):
            jobs.append(loader.job(words, config_name))
            if jobs[0].config.sweeps:
                break

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name=CONFIG)
    def run(options: DictConfig) -> None:
        raise UserError("--experimental-rerun is not supported: give the options themselves")

    printing = only_prints(arguments)
    flags = [] if printing else ["--multirun"]
    words = [word for word in arguments if word not in ("--multirun", "-m")]
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    others = [word for word in words if word not in overrides]  # Flags and their values may stand anywhere.
    if printing:  # What Hydra prints is of one point, with defaults where several values are listed.
        overrides = [word for word in overrides if not lists_values(word)]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come here instead of being printed by Hydra
    errors = StringIO()
    typed = patch.object(sys, "argv", [f"python -m {module}", *flags, *others, *overrides])
    launched = patch.object(Hydra, "multirun", collect)
    loaded = patch.object(hydra_command, "ConfigLoaderImpl", loader_of)
    # Hydra looks whether the options name a mode, and composes them for it; but a flag names it here.
    unsaid = patch.object(Hydra, "get_mode", lambda command, config_name, overrides: None)
    try:
        with typed, launched, loaded, unsaid, redirect_stderr(errors), _logging_as_it_was():
            run()
        sys.stderr.write(errors.getvalue())
    except SystemExit as end:  # Hydra's parser of flags exits, after it has printed its usage.
        if not end.code:
            raise
        message = errors.getvalue().rpartition("error: ")[2].strip()
        raise UserError(f"{message}; options are written as KEY=VALUE, and --help tells them") from None
    except ValueError as error:  # Hydra raises it for an option without a name, for example.
        raise UserError(f"the options can't be composed ({error}); give each as KEY=VALUE") from error
    return jobs


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
