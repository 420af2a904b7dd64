"""The order of the files, and the garbage collector; fixtures that all share are in `tests.fixtures`."""

from __future__ import annotations

import gc
from collections import Counter

import pytest

gc.disable()  # Nothing that is imported or collected is garbage.

LONG = ("processes", "compiler", "slow")
"""Marks of tests that take long."""


def pytest_configure(config: pytest.Config) -> None:
    """Import the fixtures, and with them torch, where tests run; where files are only handed out, nobody needs them."""
    hands_out = config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")
    if not hands_out:
        config.pluginmanager.import_plugin("tests.fixtures")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with most of the long tests first: where files go to several workers, none is left to wait for the last."""
    long = Counter(item.path for item in items if any(item.get_closest_marker(mark) for mark in LONG))
    items.sort(key=lambda item: -long[item.path])


def pytest_collection_finish() -> None:
    """What was imported stays to the end, so that the garbage collector need not walk through it again and again.

    It comes after more new objects than usual, too, because by then some are gone by themselves, and hardly ever looks
    again at what has lived long.
    """
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    gc.enable()


def pytest_sessionfinish() -> None:
    """What is left goes with the process: pytest would look through it five times."""
    gc.freeze()
