"""The benchmark of batching strategies; `python -m harness` is the way in, and each package says what lives there.

Notebooks and programs have `run` and `load` (`harness.api`). Names are imported when they are first asked for, so that
a worker, or a command that needs none of them, does not wait for torch and pandas.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api import run
    from harness.store.table import load

    __version__: str

__all__ = ["__version__", "load", "run"]

_MODULES = {"load": "harness.store.table", "run": "harness.api"}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _installed_version()
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _installed_version() -> str:
    """Return the version by the installed metadata, which code that was only copied does not have."""
    from importlib import metadata

    try:
        return metadata.version("sambatch")
    except metadata.PackageNotFoundError:
        return "0+unknown"
