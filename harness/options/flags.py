"""Flags of Hydra's command line that print something instead of running, wherever they stand among the words."""

from __future__ import annotations

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from strategies.errors import UserError

CFG = ("--cfg", "-c")
INFO = ("--info", "-i")
PRINTING = {"--help", "-h", "--hydra-help", "--version", *CFG, *INFO, "--shell-completion", "-sc"}
"""Flags that only print something and run nothing."""


def explicit(arguments: list[str]) -> list[str]:
    """Return the words with the value of each flag that prints in a word of its own, as ``-cjob`` has it glued on.

    ``--info`` without a value gets Hydra's default, or else Hydra would take the next word for its value.
    """
    found: list[str] = []
    for at, word in enumerate(arguments):
        if word[:2] in ("-c", "-i") and len(word) > 2 and word[2] != "=":
            found += [word[:2], word[2:]]
        elif word in INFO and ("=" in (following := "".join(arguments[at + 1 : at + 2])) or following[:1] in ("", "-")):
            found += [word, "all"]
        else:
            found.append(word)
    return found


def without_cfg_job(arguments: list[str]) -> list[str] | None:
    """Return the words without ``--cfg job``, or None where it is not among them."""
    for at, word in enumerate(arguments):
        flag, joined, value = word.partition("=")
        if flag not in CFG:
            continue
        asked = value if joined else "".join(arguments[at + 1 : at + 2])
        if asked == "job":
            others = arguments[:at] + arguments[at + (1 if joined else 2) :]
            return [other for other in others if other != "--resolve"]  # They always are.
        if asked not in ("hydra", "all"):
            raise UserError(f"{flag} {asked} is not known: give --cfg job, --cfg hydra or --cfg all")
    return None


def only_prints(arguments: list[str]) -> bool:
    return any(word.partition("=")[0] in PRINTING for word in arguments)


def lists_values(word: str) -> bool:
    """Return whether a word lists values to sweep; of one that can't be read, Hydra says why."""
    try:
        return OverridesParser.create().parse_override(word).is_sweep_override()
    except OverrideParseException:
        return False
