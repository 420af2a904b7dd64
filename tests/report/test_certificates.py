"""The harness's certificate in a report."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.store.certificate import Certificate, Effect, Share
from tests.support.harness_runs import row
from tests.support.report_runs import (
    ENVIRONMENT,
    report_of,
    table_cells,
)


def share(found: int, count: int) -> Share:
    return Share.of([True] * found + [False] * (count - found))


def certificate(made: str, *, device: str = "a processor", smallest: float | None = 0.05) -> dict[str, Any]:
    """As it is stored; its number of comparisons is the day on which it was made."""
    return asdict(
        Certificate(
            device=device,
            made=made,
            git_commit="abcdef0123456789",
            strategy="direct",
            model="toy",
            dtype="fp32",
            batch=8,
            objects=4,
            same=0.05,
            false_alarms=share(1, int(made[8:10])),
            effects=[Effect(slowdown=0.07, detected=share(9, 10), median_speedup=0.9346)],
            smallest_detected=smallest,
            run="20261121-000000-000000-certify",
        )
    )


def store(results: Path, *contents: dict[str, Any] | str) -> None:
    folder = results / "certificates"
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(contents):
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{number}.json").write_text(text, encoding="utf-8")


def test_without_a_certificate_the_report_says_how_to_get_one(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row("one")])
    assert "There is no certificate for a processor yet: `python -m harness.certify` makes one." in text


def test_the_latest_certificate_of_the_device_is_shown(tmp_path: Path) -> None:
    store(
        tmp_path,
        certificate("2026-11-20T23:00:00+00:00"),
        certificate("2026-11-21T00:30:00+02:00"),
        certificate("2026-11-30T00:00:00+00:00", device="another processor"),
    )
    text = report_of(tmp_path / "run", [row("one")])
    assert "1 of 20 comparisons" in text, "22:30 in Greenwich is earlier than 23:00"
    for words in (
        "false alarms at a rate of 5.0% (0.1%-24.9%)",
        "2026-11-20",
        "abcdef01",
        "found slow-downs of 5% and more",
    ):
        assert words in text, words
    (effect,) = table_cells(text, "How far to trust it")
    assert list(effect.values()) == ["7%", "9 of 10", "90.0% (55.5%-99.7%)", "0.935"]
    assert "no certificate" not in text


def test_a_certificate_that_found_nothing_reliably(tmp_path: Path) -> None:
    store(tmp_path, certificate("2026-11-20T23:00:00", smallest=None))
    assert "found none of the slow-downs below" in report_of(tmp_path / "run", [row("one")])


def test_damaged_certificates_are_as_good_as_none(tmp_path: Path) -> None:
    good = certificate("2026-11-21T00:00:00+00:00")
    store(
        tmp_path,
        *("", "{", "[]", "null", "3", "{}", json.dumps(good)[:100]),
        *(
            good | {name: value}
            for name in ("made", "false_alarms", "effects", "device")
            for value in (None, 3, "x", [3])
        ),
        good | {"false_alarms": good["false_alarms"] | {"rate": "much"}},
        good | {"effects": [{"slowdown": 0.1}]},
    )
    text = report_of(tmp_path / "run", [row("one")], environment=ENVIRONMENT | {"device": "a GPU"})
    assert "There is no certificate for a GPU yet" in text
    (tmp_path / "certificates" / "good.json").write_text(json.dumps(good), encoding="utf-8")
    assert "1 of 21 comparisons" in report_of(tmp_path / "other", [row("one")])
