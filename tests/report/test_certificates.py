"""The harness's certificates in a report: that of its timing, and that of its check of masks."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.store.certificate import Certificate, Effect, GateRate, Share
from harness.store.mask_certificate import FaultFound, Found, Honest, MaskCertificate
from tests.support.harness_runs import row
from tests.support.report_runs import (
    ENVIRONMENT,
    report_of,
    table_cells,
    unescaped,
)

TITLE = "How far to trust it"


def share(found: int, count: int) -> Share:
    return Share.of([True] * found + [False] * (count - found))


def certificate(made: str, *, device: str = "a processor", smallest: float | None = 0.05) -> dict[str, Any]:
    """Return a certificate as it is stored; its number of comparisons is the day on which it was made."""
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


def found(**changes: Any) -> Found:
    """Return the check of a fault that was caught, but for the changes."""
    caught: dict[str, Any] = {"caught": True, "in_fp32": False, "number": "logits, largest", "reason": "too far"}
    return Found(**caught | {"size": 1.2e-4, "floor": 3.4e-7, "limit": 1e-6} | changes)


def mask_certificate(made: str, *, device: str = "a processor", **changes: Any) -> dict[str, Any]:
    """Return a certificate as it is stored, of two faults in fp32 and bf16, the second of which passed in bf16."""
    passed = found(caught=False, reason=None, size=1e-3, floor=6e-3)
    faults = [
        FaultFound(name="scores halved", what="Scores are.", by_dtype={"fp32": found(), "bf16": found(in_fp32=True)}),
        FaultFound(name="weights rounded", what="Weights are.", by_dtype={"fp32": found(), "bf16": passed}),
    ]
    honest = [
        Honest(dtype="fp32", groups=20, wrong=share(0, int(made[8:10])), share_of_limits=0.752),
        Honest(dtype="bf16", groups=20, wrong=share(1, int(made[8:10])), share_of_limits=None),
    ]
    certificate = MaskCertificate(
        device=device, made=made, git_commit="abcdef0123456789", model="toy", faults=faults, honest=honest
    )
    return asdict(certificate) | changes


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
    (effect,) = table_cells(text, TITLE)
    assert list(effect.values()) == ["7%", "9 of 10", "90.0% (55.5%-99.7%)", "0.935"]
    assert "There is no certificate for a processor" not in text


def test_a_certificate_that_found_nothing_reliably(tmp_path: Path) -> None:
    store(tmp_path, certificate("2026-11-20T23:00:00", smallest=None))
    assert "found none of the slow-downs below" in report_of(tmp_path / "run", [row("one")])


def test_rates_beside_neighbours_and_those_of_the_gate_stand_beside_the_others(tmp_path: Path) -> None:
    rates = [
        asdict(GateRate(slowdown=slowdown, regressed=share(regressed, 10), passed=share(passed, 10)))
        for slowdown, regressed, passed in ((0.0, 0, 9), (0.2, 8, 1))
    ]
    alone = certificate("2026-11-20T23:00:00+00:00")
    effects = [asdict(Effect(slowdown=0.07, detected=share(2, 10), median_speedup=0.91))]
    alarms = {"false_alarms": asdict(share(3, 20)), "effects": effects, "smallest_detected": None, "gate": rates}
    store(tmp_path, alone | {"gate": rates, "gate_margin": 0.1, "beside": alarms | {"neighbours": 2}})
    text = unescaped(report_of(tmp_path / "run", [row("one")]))
    assert "1 of 20 comparisons" in text
    assert "beside 2 busy processes, with 3 false alarms in 20 comparisons, 15.0% (3.2%-37.9%)" in text
    assert "| alone | 7% | 9 of 10 | 90.0% (55.5%-99.7%) | 0.935 |" in text
    assert "| beside 2 busy processes | 7% | 2 of 10 |" in text
    assert "The regression gate (margin 10%) said this of pairs" in text
    assert "| alone | 0% | 0 of 10 | 0.0% (0.0%-30.8%) | 9 of 10 |" in text
    assert "| beside 2 busy processes | 20% | 8 of 10 |" in text
    assert "not complete" not in text


def test_a_certificate_that_its_time_cut_short_says_so(tmp_path: Path) -> None:
    cut = {"planned": 140, "compared": 35, "minutes": 30.0}
    store(tmp_path, certificate("2026-11-20T23:00:00+00:00") | cut)
    text = report_of(tmp_path / "run", [row("one")])
    assert "It is not complete: 35 of 140 comparisons came to an end within its 30 minutes." in text


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
        *(good | {"beside": value} for value in (3, "x", [3], {}, {"neighbours": 1})),
        *(good | {"gate": value} for value in (None, 3, "x", [3], [{}])),
    )
    text = report_of(tmp_path / "run", [row("one")], environment=ENVIRONMENT | {"device": "a GPU"})
    assert "There is no certificate for a GPU yet" in text
    (tmp_path / "certificates" / "good.json").write_text(json.dumps(good), encoding="utf-8")
    assert "1 of 21 comparisons" in report_of(tmp_path / "other", [row("one")])


# --- the check of masks ----------------------------------------------------------------------------------------

NO_MASKS = "There is no certificate of the check of masks for a processor yet: `python -m harness.certify masks`"


def test_without_a_certificate_of_masks_the_report_says_how_to_get_one(tmp_path: Path) -> None:
    assert NO_MASKS in report_of(tmp_path / "run", [row("one")])
    store(tmp_path, certificate("2026-11-20T23:00:00+00:00"))
    assert NO_MASKS in report_of(tmp_path / "other", [row("one")]), "that of timing is another one"


def test_the_latest_certificate_of_masks_is_shown(tmp_path: Path) -> None:
    store(
        tmp_path,
        mask_certificate("2026-11-20T23:00:00+00:00"),
        mask_certificate("2026-11-21T00:30:00+02:00"),
        mask_certificate("2026-11-30T00:00:00+00:00", device="another processor"),
    )
    text = report_of(tmp_path / "run", [row("one")])
    for words in (
        "the harness called wrong 2 of 2 in fp32; 1 of 2 in bf16, 1 of them by the certification in fp32 alone.",
        "it called wrong 0 of 20 in fp32 (they use at most 75% of a limit); 1 of 20 in bf16 (2026-11-20, a processor,",
        "toy, code abcdef01; `python -m harness.certify masks`).",
    ):
        assert words in text, words
    assert NO_MASKS not in text
    assert "There is no certificate for a processor yet" in text, "that of timing is another one"
    first, second = table_cells(text, TITLE)
    assert list(first.values()) == [
        "scores halved",
        *("caught", "1.2e-04", "3.4e-07"),
        *("caught, in fp32", "1.2e-04", "3.4e-07"),
    ]
    assert list(second.values()) == [
        "weights rounded",
        *("caught", "1.2e-04", "3.4e-07"),
        *("passed", "1.0e-03", "6.0e-03"),
    ]
    assert list(first)[:5] == ["planted mistake", "in fp32", "size, fp32", "noise floor, fp32", "in bf16"]


def test_a_fault_that_was_not_tried_or_has_no_number_has_empty_cells(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("number", "size", "floor", "limit"))
    by_dtype = {"fp32": found(**nothing)}
    faults = [asdict(FaultFound(name="objects reversed", what="Objects are.", by_dtype=by_dtype))]
    store(tmp_path, mask_certificate("2026-11-20T23:00:00+00:00", faults=faults))
    text = report_of(tmp_path / "run", [row("one")])
    (cells,) = table_cells(text, TITLE)
    assert list(cells.values()) == ["objects reversed", "caught", "", "", "", "", ""]
    assert "the harness called wrong 1 of 1 in fp32; 0 of 0 in bf16." in text


def test_both_certificates_are_shown_beside_each_other(tmp_path: Path) -> None:
    store(tmp_path, certificate("2026-11-20T23:00:00+00:00"), mask_certificate("2026-11-21T23:00:00+00:00"))
    text = report_of(tmp_path / "run", [row("one")])
    assert text.index("1 of 20 comparisons") < text.index("called wrong 2 of 2 in fp32")
    assert "There is no certificate" not in text


def test_damaged_certificates_of_masks_are_as_good_as_none(tmp_path: Path) -> None:
    good = mask_certificate("2026-11-21T00:00:00+00:00")
    one, honest = good["faults"][0], good["honest"][0]
    judged = one["by_dtype"]["fp32"]
    store(
        tmp_path,
        json.dumps(good)[:100],
        *(
            good | {name: value}
            for name in ("made", "faults", "honest", "kind")
            for value in (None, 3, "x", [3], [], {})
        ),
        *(good | {"faults": [one | {"by_dtype": value}]} for value in (None, 3, "x", [3], {"fp32": 3}, {"fp32": {}})),
        *(good | {"faults": [one | {"by_dtype": {"fp32": judged | {"caught": value}}}]} for value in ("x", [3], {})),
        *(good | {"honest": [honest | {"wrong": value}]} for value in (None, 3, "x", [3], {})),
        *(good | {"honest": [honest | {"share_of_limits": value}]} for value in ("x", [3], {})),
        {name: value for name, value in good.items() if name != "model"},
        good | {"of_a_later_version": 1},
    )
    assert NO_MASKS in report_of(tmp_path / "run", [row("one")])
    (tmp_path / "certificates" / "good.json").write_text(json.dumps(good), encoding="utf-8")
    assert "called wrong 2 of 2 in fp32" in report_of(tmp_path / "other", [row("one")])


def test_numbers_of_faults_of_any_kind_crash_nothing(tmp_path: Path) -> None:
    good = mask_certificate("2026-11-21T00:00:00+00:00")
    one = good["faults"][0]
    damaged = [
        one | {"by_dtype": {"fp32": one["by_dtype"]["fp32"] | {name: value}}}
        for name in ("size", "floor", "limit", "number", "reason")
        for value in (None, "x", [3], {"a": 1})
    ]
    store(tmp_path, good | {"faults": damaged})
    text = report_of(tmp_path / "run", [row("one")])
    assert "called wrong 20 of 20 in fp32" in text
    assert [cells["size, fp32"] for cells in table_cells(text, TITLE)] == [""] * 4 + ["1.2e-04"] * 16
