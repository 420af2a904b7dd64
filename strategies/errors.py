"""The one exception that means "the user can mend this", and words that its sentences share."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class UserError(Exception):
    """Bad input: one sentence that names the file or option and says what to do.

    Command lines print it without a traceback and exit with code 2.
    """


def did_you_mean(name: str, valid: Sequence[str]) -> str:
    """The question to ask about an unknown name, with a space behind it; empty where no valid name is near."""
    close = difflib.get_close_matches(name, valid, n=1)
    return f"did you mean {close[0]}? " if close else ""
