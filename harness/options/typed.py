"""Words as they are typed on a command line: which option they set, by today's names and in Hydra's grammar."""

from __future__ import annotations

from harness.options.composed import NODES

RENAMED = {"strategy@reference": "strategy@baseline", "reference": "baseline", "check.baseline": "check.snapshot"}
"""The former names of options, which are still accepted."""
ANYWAY = "++"
"""Hydra's mark for an option that is set whether or not it exists."""
ADDED, EXPERIMENT = "+", "experiment"
"""Hydra's mark for a file of a group that the options do not have yet, and the group whose files are all such."""


def renamed(word: str) -> str:
    """Return a word of the command line with its option, or the part before the dot, by today's name.

    An option of a strategy is marked so that Hydra takes it whether or not it is in the YAML: the constructor knows it.
    """
    mark = word[: len(word) - len(word.lstrip("+~"))]
    option, equals, value = word[len(mark) :].partition("=")
    for old, new in RENAMED.items():
        if (equals or "~" in mark) and (option == old or option.startswith(f"{old}.")):
            option = f"{new}{option.removeprefix(old)}"
    if equals and not mark and of_strategy(option):
        mark = ANYWAY
    return f"{mark}{option}{equals}{value}"


def with_added_experiment(words: list[str]) -> list[str]:
    """Return the words in Hydra's grammar where they choose an experiment as if the options had one."""
    if any(word.startswith(ADDED) and set_by(word) == EXPERIMENT for word in words):
        return words
    chosen = [word for word in words if word not in (f"{EXPERIMENT}=null", f"{EXPERIMENT}=")]
    return [f"{ADDED}{word}" if word.startswith(f"{EXPERIMENT}=") else word for word in chosen]


def quoted(word: str) -> str:
    """Return a word whose value Hydra's grammar takes although it holds letters beyond ASCII, as a folder may.

    Values that may be quoted already, or are lists or the like, stay as they are.
    """
    option, equals, value = word.partition("=")
    if value.isascii() or set(value) & set("'\"[]{}()=\\"):
        return word
    quoted = ",".join(f"'{one}'" for one in value.split(","))
    return f"{option}{equals}{quoted}"


def as_typed(word: str) -> str:
    """Return a word as it can be given again on a command line."""
    return word.removeprefix(ANYWAY) if of_strategy(word) else word


def of_strategy(word: str) -> bool:
    """Return whether a word sets an option of the strategy or of the baseline, as ``strategy.piece=4`` does."""
    return set_by(word).startswith(tuple(f"{node}." for node in NODES))


def set_by(word: str) -> str:
    """Return the name of the option that a word sets."""
    return word.partition("=")[0].lstrip("+~")
