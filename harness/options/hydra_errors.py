"""What Hydra and OmegaConf raise for options that can't be composed, turned into one sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from harness.options.data import SOURCES
from harness.options.shipped import shipped, strategies
from harness.options.typed import as_typed, set_by
from harness.options.wrong_values import given_word, refusal
from strategies.errors import did_you_mean

MERGING = "Error merging override "
"""Hydra's words before the word of the command line that can't be applied."""
ELSEWHERE = {
    r"(In '(?P<file>.+)': )?Could not override '(?P<key>.+)'\. No match .*": "{file}{key}= is no group of files",
    r"(In '(?P<file>.+)': )?Could not load '(?P<name>.+?)'\..*": "{file}{name} is no file of the options",
    r"Could not delete '(?P<key>.+)'\. No match .*": "no {key}= is chosen that ~{key} would take out",
    r"Multiple values for (?P<key>.+?)\. .*": "{key}= is chosen more than once: choose one",
    r"Could not override '(?P<key>.+)'\. Did you mean to override (one of )?(?P<meant>.+)\? To .*": (
        "{key}= is not an option; did you mean {meant}?"
    ),
    r"Could not append .* Either remove \+ prefix: '(?P<given>.+)' Or .*": (
        "+{given} adds an option that is there already: give {given}"
    ),
    r"Could not delete .* value of '(?P<key>.+?)' is .*": "~{key}= gives a value that {key} does not have: give ~{key}",
}
"""Hydra's messages for command lines, as patterns, and what is said instead."""
NO_SECTION = re.compile(r"Merge error: \w+ is not a subclass of \w+\. value: (?P<value>.*)")
"""OmegaConf's message for a section of options that a file sets to a value."""


def explained(error: Exception, arguments: Sequence[str]) -> str:
    """Return the sentence, which names the option or the file. arguments: the words of the command line."""
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__ or error.__context__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines)
    file = re.match(r"In '(.+?)'", text)
    where = f"{file[1]}.yaml: " if file else ""
    match error:
        case MissingConfigException() if error.options is not None and error.missing_cfg_file:
            group, _, name = error.missing_cfg_file.rpartition("/")
            option = _typed_for(group, name, arguments)
            return f"{option}={name} is not known; {did_you_mean(name, error.options)}valid: {', '.join(error.options)}"
        case OverrideParseException():
            word = as_typed(str(error.override))
            advice = "quote values that hold , = [ spaces or letters beyond ASCII"
            return f"{word} can't be read as KEY=VALUE ({lines[0]}); {advice}"
    match cause:
        case MissingMandatoryValue():
            return f"{cause.full_key}= is missing: give it a value"
        case ConfigAttributeError() | ConfigKeyError():
            return f"{where}{_unknown(cause)}"
        case InterpolationResolutionError():
            return f"{cause.full_key}= can't be resolved: {str(cause).splitlines()[0]}"
        case OmegaConfBaseException() if text.startswith(MERGING):
            return refusal(lines[0].removeprefix(MERGING), cause)
        case OmegaConfBaseException(full_key=str(name), value=value) if name and value is not None:
            return f"{where}{refusal(given_word(name, value), cause)}"
        case OmegaConfBaseException():
            said = str(cause).splitlines()[0]
            found = NO_SECTION.fullmatch(said)
            return f"{where}{f'{found[1]} is given for a section, whose options are set one by one' if found else said}"
    for pattern, said in ELSEWHERE.items():
        found = re.fullmatch(pattern, text)
        if found:
            return said.format(**found.groupdict() | {"file": where})
    return "; ".join(line.rstrip(".") for line in lines)


def _typed_for(group: str, name: str, arguments: Sequence[str]) -> str:
    """Return the option by which a name of a group was chosen: the group, or its package, as ``strategy@baseline``."""
    options = [
        set_by(word)
        for word in arguments
        if set_by(word).partition("@")[0] == group and name in word.partition("=")[2].split(",")
    ]
    return options[0] if options else group


def _unknown(error: OmegaConfBaseException) -> str:
    wrong = str(error.full_key)  # The word may go on: of data.root.x= it is data.root= that is not there.
    parent = wrong.rpartition(".")[0]
    valid = sorted(str(name) for name in error.parent_node or () if name != "hydra")
    return not_an_option(wrong, [f"{parent}.{name}" if parent else name for name in valid])


def not_an_option(wrong: str, valid: list[str]) -> str:
    """Return the sentence about an option that is none. valid: the full names of the options in its place."""
    advice = f"valid: {', '.join(valid)}" if valid else f"{wrong.rpartition('.')[0]}= has none within"
    return f"{wrong}= is not an option; {_meant(wrong, valid)}{advice}"


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
