"""``sambatch COMMAND [WORDS]``: all commands by one name, each with the words that its module takes.

`bench` is `python -m harness`; `label`, `check`, `certify` and `kernels` are `python -m harness.label` and so on;
`report` and `compare` are `python -m report` and `python -m report compare`. `--help` lists them, `COMMAND --help`
says what one takes, and `--version` prints the version.

Nothing in the current folder may take the place of this project's packages, as a `harness.py` there would in
`python -m harness`: that is said in one sentence, and nothing runs.

Exit codes: those of the command; 2 where there is no such command, or a file is in the way.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from harness import __version__
from harness.guard import guarded, start
from strategies.errors import UserError, did_you_mean

OWN = Path(__file__).resolve().parents[1]
"""The folder that this project's packages are installed in."""
PACKAGES = ("harness", "strategies", "report")


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a command runs: the ``main`` of a module, which gets ``words`` before those that were typed."""

    module: str
    help: str
    words: tuple[str, ...] = ()


COMMANDS = {
    "bench": Command(module="harness.cli", help="compare strategies: a sweep, its table and its report"),
    "label": Command(module="harness.commands.label", help="make masks of a folder of pictures"),
    "check": Command(module="harness.gate.check", help="find out whether anything has become worse"),
    "certify": Command(module="harness.commands.certify", help="find out how far this machine can be trusted"),
    "kernels": Command(module="harness.commands.kernels", help="time the fused attention beside the library's"),
    "collect": Command(module="harness.commands.collect", help="sum up a sweep in parts (shard=2/8)"),
    "report": Command(module="report.cli", help="write a run's report again"),
    "compare": Command(module="report.cli", help="set the points of runs side by side", words=("compare",)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return guarded(lambda: _run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(given: list[str]) -> int:
    if given[:1] == ["--version"]:
        print(f"sambatch {__version__}")
        return 0
    if given[:1] in (["--help"], ["-h"]):
        print(_usage())
        return 0
    valid = ", ".join(COMMANDS)
    if not given:
        raise UserError(f"no command is given; choose one of {valid}, or --help")
    if given[0] not in COMMANDS:
        raise UserError(f"{given[0]} is not a command; {did_you_mean(given[0], list(COMMANDS))}valid: {valid}")
    _refuse_other_packages()
    here, command = str(Path.cwd()), COMMANDS[given[0]]
    if not sys.flags.safe_path and here not in sys.path:
        sys.path.insert(0, here)  # As `python -m` does: a strategy of one's own may lie there.
    return start(command.module, [*command.words, *given[1:]])


def _refuse_other_packages() -> None:
    """Raise UserError where the current folder has a module by the name of one of this project's packages.

    The commands' workers would import it instead. A folder that is no package, such as one of reports, is in no way.
    """
    for name in PACKAGES:
        spec = PathFinder.find_spec(name, [str(Path.cwd())])
        if spec is None or spec.origin is None or Path(spec.origin).resolve().parent == OWN / name:
            continue
        raise UserError(
            f"{Path(spec.origin).relative_to(Path.cwd())} would take the place of sambatch's own package {name}: "
            "rename it, or start in another folder"
        )


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: sambatch COMMAND [WORDS]", "", *lines, "", "sambatch COMMAND --help says what one takes"])
