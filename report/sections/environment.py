"""Where and with what a run was made."""

from __future__ import annotations

from typing import Any

from report.reading.run import Run, dig
from report.render.document import Bullets, Section


def environment_section(run: Run) -> Section | None:
    lines = tuple(f"{name}: {value}" for name, value in facts(run.environment).items())
    return Section.of("Environment", Bullets(items=lines) if lines else None)


def facts(environment: dict[str, Any]) -> dict[str, str]:
    """Return the environment's facts as texts by their names, without those that are missing."""
    packages = dig(environment, "packages")
    found = {
        "device": dig(environment, "device"),
        "GPU": _joined(
            environment,
            *(("{}", "gpu", "name"), ("{} GB", "gpu", "memory_gb"), ("driver {}", "gpu", "driver")),
            *(("CUDA {}", "gpu", "cuda"), ("capability {}", "gpu", "capability")),
        ),
        "CPU": _joined(environment, ("{}", "cpu", "name"), ("{} cores", "cpu", "cores"), ("{} GB", "cpu", "memory_gb")),
        "CPU flags": _flags(dig(environment, "cpu", "flags")),
        "threads used": dig(environment, "threads"),
        "platform": dig(environment, "platform"),
        "Python": dig(environment, "python"),
        **{str(name): version for name, version in (packages.items() if isinstance(packages, dict) else ())},
        "code": _code(environment),
    }
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def _joined(environment: dict[str, Any], *parts: tuple[str, str, str]) -> str:
    values = ((form, dig(environment, *place)) for form, *place in parts)
    return ", ".join(form.format(value) for form, value in values if value is not None)


def _flags(flags: Any) -> str:
    return " ".join(map(str, flags)) if isinstance(flags, list) else ""


def _code(environment: dict[str, Any]) -> str | None:
    commit = dig(environment, "git_commit")
    changed = " with uncommitted changes" if dig(environment, "git_changed") is True else ""
    return f"{commit}{changed}" if commit else None
