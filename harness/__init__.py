"""The benchmark of batching strategies; `python -m harness` is the way in, and each package says what lives there."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

__all__ = ["__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _installed_version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _installed_version() -> str:
    """Return the version by the installed metadata, which code that was only copied does not have."""
    from importlib import metadata

    try:
        return metadata.version("sambatch")
    except metadata.PackageNotFoundError:
        return "0+unknown"
