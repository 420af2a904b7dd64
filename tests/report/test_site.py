"""``python -m report site``: all runs of a folder as a static site."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from report.cli import main
from tests.support.harness_runs import row
from tests.support.paths import ROOT
from tests.support.report_runs import AGREED, ENVIRONMENT, FASTER, run_folder, size_of

EXAMPLE = ROOT / "results" / "example"
HOSTILE = '20260103-000000-000000-<script>alert("x")</script> & `a` **b** %2e%2e'.replace("/", "\N{DIVISION SLASH}")


def faster(speedup: float) -> dict[str, Any]:
    return FASTER | AGREED | {"speedup": speedup, "speedup_lo": 0.9 * speedup, "speedup_hi": 1.1 * speedup}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed example, two runs of one machine, one of another device and model, and what is no run."""
    folder = tmp_path_factory.mktemp("made") / "results"
    (folder / "example").mkdir(parents=True)
    for name in ("summary.csv", "environment.json"):
        shutil.copy(EXAMPLE / name, folder / "example")
    run_folder(folder / "20260101-000000-000000-mine", [row("one", batch=8, **faster(3.0))])
    run_folder(folder / HOSTILE, [row("one", batch=8, **faster(4.0))])
    other = [row("one", model="sam2.1_hiera_large", batch=8, **faster(2.0))]
    run_folder(folder / "20260102-000000-000000-gpu", other, environment=ENVIRONMENT | {"device": "a card"})
    (folder / "baselines").mkdir()
    return folder


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """A copy of them in the test's own folder."""
    return shutil.copytree(made, tmp_path / "results", symlinks=True)


@pytest.fixture(scope="module")
def site(made: Path) -> Path:
    """Their site, with an address."""
    return site_of(made, "--address", "https://example.org/pages")


def site_of(results: Path, *options: str) -> Path:
    assert main(["site", str(results), "--output", str(results.parent / "site"), *options]) == 0
    return results.parent / "site"


def links_in(page: Path) -> Iterator[str]:
    for address in re.findall(r'<a href="([^"#][^"]*)"', page.read_text(encoding="utf-8")):
        yield unquote(unescape(address))


@pytest.mark.slow
def test_every_run_has_a_page_that_the_index_leads_to_and_that_leads_back(site: Path) -> None:
    links = list(links_in(site / "index.html"))
    assert len(links) == 4
    for link in links:
        assert not link.startswith(("/", "http")), "a site can lie at any address"
        page = site / link
        assert page.is_file()
        assert [(page.parent / back).resolve() for back in links_in(page)] == [(site / "index.html").resolve()]
        assert size_of(page.parent / "card.png") == (1200, 630)


@pytest.mark.slow
def test_the_index_has_the_last_verdict_of_each_device_and_model_and_the_trend(site: Path) -> None:
    html = (site / "index.html").read_text(encoding="utf-8")
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    assert titles[:2] == ["toy on a processor", "sam2.1_hiera_large on a card"], "the latest first"
    assert len(titles) == 3
    assert "<strong>direct (shared), batch 8: 4.0 times as fast as sequential</strong>" in html
    assert html.count("<svg") == 1, "one point was measured in two runs of one machine"
    assert "20260101-000000-000000-mine: 3.00 (2.70-3.30)" in html


@pytest.mark.slow
def test_hostile_names_are_text_and_lead_nowhere_else(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert "<script>alert" not in page.read_text(encoding="utf-8")
    for folder in (path for path in site.iterdir() if path.is_dir()):
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", folder.name)


@pytest.mark.slow
def test_names_that_are_no_text_or_the_indexs_own_have_their_pages(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for name in (os.fsdecode(b"\xff\xfe"), "index.html"):
        run_folder(results / name, [row("one", batch=8, **faster(3.0))])
    site = site_of(results)
    links = list(links_in(site / "index.html"))
    assert len(links) == 2
    assert all((site / link).is_file() for link in links)
    html = (site / "index.html").read_text(encoding="utf-8")
    assert "\\udcff\\udcfe" in html, "a byte that is no letter is spelled out"


@pytest.mark.slow
def test_an_address_makes_cards_that_previews_find(site: Path) -> None:
    html = (site / "example" / "index.html").read_text(encoding="utf-8")
    assert '<meta property="og:image" content="https://example.org/pages/example/card.png">' in html


@pytest.mark.slow
def test_a_site_is_written_again_without_the_runs_that_are_gone(results: Path, site: Path) -> None:
    before = shutil.copytree(site, results.parent / "site")
    assert (before / "example").is_dir()
    shutil.rmtree(results / "example")
    assert site_of(results) == before
    assert not (before / "example").exists()
    assert len(list(links_in(before / "index.html"))) == 3


@pytest.mark.slow
def test_by_default_the_site_lies_beside_the_runs_and_is_none_of_them(results: Path) -> None:
    shutil.rmtree(results / "example")  # Its page takes longest.
    for _ in range(2):
        assert main(["site", str(results)]) == 0
    assert len(list(links_in(results / "site" / "index.html"))) == 3


def test_a_run_that_can_not_be_read_is_named(tmp_path: Path, results: Path) -> None:
    (results / "broken" / "points").mkdir(parents=True)
    (results / "unread").mkdir()
    (results / "unread" / "summary.csv").symlink_to("/proc/self/mem")  # Reading it fails.
    shutil.rmtree(results / HOSTILE)
    shutil.rmtree(results / "example")
    html = (site_of(results) / "index.html").read_text(encoding="utf-8")
    assert "Left out" in html
    assert f"{results / 'broken'} holds no finished point" in html
    assert f"{results / 'unread'} can't be read (Input/output error)" in unescape(html)


@pytest.mark.parametrize("kind", ["a folder", "a file", "a damaged site"])
def test_nothing_of_others_is_written_to(results: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = results.parent / "mine"
    if kind == "a file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / (".sambatch-site" if kind == "a damaged site" else "letter.txt")).write_text("mine")
    before = sorted(out.rglob("*"))
    assert main(["site", str(results), "--output", str(out)]) == 2
    assert f"{out} is there and holds no site that was written before" in capsys.readouterr().err
    assert sorted(out.rglob("*")) == before


def test_a_site_that_was_edited_by_hand_removes_nothing_outside(results: Path) -> None:
    out = results.parent / "site"
    out.mkdir()
    kept = results.parent / "kept"
    kept.mkdir()
    (out / ".sambatch-site").write_text('["../kept", "..", "", "."]')
    shutil.rmtree(results / "example")
    site_of(results)
    assert kept.is_dir()


@pytest.mark.parametrize("made", [True, False])
def test_a_folder_without_runs_is_one_sentence(tmp_path: Path, made: bool, capsys: pytest.CaptureFixture[str]) -> None:
    if made:
        (tmp_path / "none").mkdir()
    assert main(["site", str(tmp_path / "none")]) == 2
    assert ("holds no finished run" if made else "is no folder") in capsys.readouterr().err
