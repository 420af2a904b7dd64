"""The one exception that means "the user can mend this"."""

from __future__ import annotations


class UserError(Exception):
    """Bad input: one sentence that names the file or option and says what to do.

    Command lines print it without a traceback and exit with code 2.
    """
