"""The catalogue of planted faults: every one is caught in fp32, and exact strategies are not called wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.commands import certify_masks
from harness.commands.certify import main
from harness.commands.certify_masks import CATALOGUE, judge_faults, judge_honest
from harness.options.compose import compose
from harness.options.points import Point
from harness.store.mask_certificate import Found, MaskCertificate
from strategies.direct import Direct
from strategies.planted_faults.catalogue import (
    FAULTS,
    OF_CHOSEN_REFERENCES,
    OF_LATENTS,
    OF_RESIZED_MASKS,
    OF_ROUNDED_MEMORY,
    RARE,
    Fault,
)
from tests.support.harness_runs import strict_json
from tests.support.models import EDGETAM_TOY, SAM3_TRACKER_TOY, TWINS

GROUPS = 2
"""Drawn groups that share a noise floor, here: a floor is measured on no more."""


def catalogue_point(*more: str) -> Point:
    (made,) = compose([*[f"{key}={value}" for key, value in CATALOGUE.items()], *more], module="harness.certify masks")
    return made


@pytest.fixture(scope="module", autouse=True)
def nothing_is_watched() -> Iterator[None]:
    """A point's masks do not depend on its kernels and stages, nor on rates, which are measured once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.measure.point._watch", lambda *_: None)
        yield


OF_CALLS = tuple(fault for fault in FAULTS if fault.made.__module__.endswith(".calls"))
"""Faults that depend on which call it is, and show only where there are several."""


@pytest.fixture(scope="module")
def found() -> dict[str, Found]:
    """Every fault shows on two batches of each group, or on three if it is one of calls, and in half of the rounds.

    The last batch has one target.
    """
    judged: dict[str, Found] = {}
    for targets, chosen in (("targets=7", OF_CALLS), ("targets=4", [one for one in FAULTS if one not in OF_CALLS])):
        faults = [replace(fault, rounds=min(fault.rounds, RARE // 2)) for fault in chosen]
        point = catalogue_point(targets, "batch=3", "data.parts=3")
        judged |= {fault.name: one for fault, one in judge_faults(point, faults)}
    return judged


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_planted_fault_is_caught_in_fp32(found: dict[str, Found], fault: Fault) -> None:
    assert found[fault.name].caught, found[fault.name]
    assert found[fault.name].reason


@pytest.mark.slow
def test_exact_strategies_on_drawn_groups_are_not_called_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certify_masks, "GROUPS_A_SET", GROUPS)
    honest = judge_honest(catalogue_point().config, groups=2 * GROUPS)
    assert honest.wrong.found == 0
    assert honest.groups == 2 * GROUPS
    assert honest.share_of_limits is not None
    assert honest.share_of_limits <= 1


OF_THE_BANK = tuple(fault for fault in FAULTS if fault.made.__module__.endswith(".memory_bank"))
"""Faults in what an adapter has a say in; those of predictions know no model."""
OF_FAMILIES: dict[str, tuple[Fault, ...]] = {
    SAM3_TRACKER_TOY: OF_THE_BANK + OF_CHOSEN_REFERENCES + OF_RESIZED_MASKS,
    EDGETAM_TOY: tuple(fault for fault in OF_THE_BANK if fault not in OF_ROUNDED_MEMORY) + OF_LATENTS,
}
"""Faults that models of a family can have, by its toy."""


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_every_fault_of_another_familys_bank_is_caught_in_fp32(name: str) -> None:
    """With more references than SAM3's tracker looks back to, and for EdgeTAM, which looks at all, with fewer."""
    refs = 8 if name == SAM3_TRACKER_TOY else 4
    point = catalogue_point(f"model={name}", f"refs={refs}", "targets=3", "data.groups=1", "data.parts=2")
    found = judge_faults(point, OF_FAMILIES[name])
    assert [fault.name for fault, one in found if not one.caught] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_exact_strategies_of_another_family_are_not_called_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certify_masks, "GROUPS_A_SET", 1)
    assert judge_honest(catalogue_point(f"model={name}").config, groups=2).wrong.found == 0


def test_faults_have_names_of_their_own_and_say_what_they_are() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 20
    for fault in FAULTS:
        assert fault.what.endswith("."), fault.name


@pytest.mark.slow
def test_the_command_prints_a_table_and_leaves_a_certificate_that_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [fault for fault in FAULTS if fault.name in ("scores halved", "objects reversed", "a pixel is NaN")]
    honest = Fault(name="none at all", made=Direct)
    monkeypatch.setattr(certify_masks, "FAULTS", (*chosen, honest))
    monkeypatch.setattr(certify_masks, "DTYPES_TRIED", ("fp32",))
    monkeypatch.setattr(certify_masks, "GROUPS_A_SET", 1)
    monkeypatch.setattr(certify_masks, "HONEST", certify_masks.HONEST[:1])
    arguments = ["masks", f"results={tmp_path}", "certify.groups=1", "data.groups=1", "targets=4", "data.parts=2"]
    assert main(arguments) == 0
    (path,) = (tmp_path / "certificates").glob("masks-*.json")
    certificate = MaskCertificate.from_json(strict_json(path))
    caught = {fault.name: fault.by_dtype["fp32"].caught for fault in certificate.faults}
    assert caught == {"scores halved": True, "objects reversed": True, "a pixel is NaN": True, "none at all": False}
    halved, reversed_, nan, _ = (fault.by_dtype["fp32"] for fault in certificate.faults)
    assert reversed_.number is None
    assert nan.number is not None
    assert nan.number.startswith("logits")
    assert nan.size is None, "it is not finite"
    assert halved.size is not None
    assert halved.limit is not None
    assert halved.size > halved.limit
    told = capsys.readouterr().out
    for words in ("scores halved", "caught", "passed", "called wrong", str(path)):
        assert words in told


def test_one_point_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["masks", "batch=1,2"]) == 2
    assert "one point, not 2" in capsys.readouterr().err


def test_streams_have_no_certificate_of_masks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["masks", "scenario=stream"]) == 2
    assert "certify masks follows no streams: leave out scenario=stream" in capsys.readouterr().err


@pytest.mark.parametrize("content", [{}, {"kind": "masks"}, {"kind": "masks", "faults": 3}])
def test_what_is_no_certificate_of_masks_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a certificate"):
        MaskCertificate.from_json(content)
