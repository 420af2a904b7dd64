"""The package's names, which are imported when they are first asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import strategies


@pytest.mark.parametrize("name", strategies.__all__)
def test_every_name_exists_and_is_listed(name: str) -> None:
    assert getattr(strategies, name) is not None
    assert name in dir(strategies)


def test_another_name_is_missing_as_from_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'strategies' has no attribute 'Indirect'"):
        strategies.Indirect  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Indirect'"):
        exec("from strategies import Indirect")


def test_errors_come_without_torch() -> None:
    code = "import sys; from strategies import UserError; from strategies.errors import out_of_memory; "
    code += "print(out_of_memory(MemoryError()), out_of_memory(ValueError()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["True", "False", "False"]
