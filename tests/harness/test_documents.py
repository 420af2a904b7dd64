"""What the documents say is so: snippets run, commands compose, numbers are measured, links and citations lead on."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data.synthetic import synthetic_groups
from harness.options.compose import compose
from tests.harness.test_layers import FLOORS
from tests.support.paths import ROOT

DOCUMENTS = ("README.md", "DESIGN.md", "REFERENCE.md", "CONTRIBUTING.md")
README = (ROOT / "README.md").read_text(encoding="utf-8")
DESIGN = (ROOT / "DESIGN.md").read_text(encoding="utf-8")
CODE = [path for folder in ("strategies", "harness", "report", "tests") for path in (ROOT / folder).rglob("*.py")]
SWEEPS = ("harness", "harness.check", "harness.certify", "harness.label")
"""Modules whose words Hydra composes."""
CITATION = re.compile(r"DESIGN sections? ([\d, and]+?)(?:, (?:trap|rule)s? ([\d, and]+))?(?=\W)")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


# --- the README ----------------------------------------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 130


def test_the_readmes_python_segments_a_folder_of_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (snippet,) = blocks(README, "python")
    folder = tmp_path / "my_data" / "moth_wings"
    drawn = synthetic_groups(count=1, references=2, targets=9, objects=3, size=(96, 128), seed=0)[0]
    for kind, frames in (("refs", drawn.references), ("targets", drawn.targets)):
        (folder / kind).mkdir(parents=True)
        for index, frame in enumerate(frames):
            Image.fromarray(frame.image()).save(folder / kind / f"{index}.jpg")
            if kind == "refs":
                assert frame.labels is not None
                Image.fromarray(frame.labels().astype(np.uint8)).save(folder / kind / f"{index}.png")
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {})
    masks = [np.array(Image.open(path)) for path in sorted(tmp_path.glob("*-mask.png"))]
    assert [mask.shape for mask in masks] == [(96, 128)] * 9
    assert {0, 1, 2, 3} >= set(np.unique(masks)) > {0}


def commands() -> Iterator[list[str]]:
    """The words of every command of ours in the README, without comments."""
    for block in blocks(README, "sh"):
        for line in block.splitlines():
            yield shlex.split(line, comments=True)
    for command in re.findall(r"`(python -m [^`]*)`", README):
        yield shlex.split(command)


@pytest.mark.slow
def test_the_readmes_commands_compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    composed = 0
    for words in commands():
        if words[:2] != ["python", "-m"] or words[2] not in SWEEPS or "--help" in words:
            continue
        for options in turns([word for word in words[3:] if word not in ("--update", "masks")]):
            assert len(compose(options, module=words[2])) == 1, words
        composed += 1
    assert composed >= 8


def turns(words: list[str]) -> Iterator[list[str]]:
    """Options of single points in which every listed value occurs, which is sooner composed than every combination."""
    options = dict(word.split("=", maxsplit=1) for word in words)
    listed = {key: [value] if value.startswith("[") else value.split(",") for key, value in options.items()}
    for turn in range(max(map(len, listed.values()), default=1)):
        chosen = {"strategy": "direct"} | {key: values[turn % len(values)] for key, values in listed.items()}
        alone = ["sweeps=[]"] if "+experiment" in chosen else []
        yield [*(f"{key}={value}" for key, value in chosen.items()), *alone]


def test_the_readmes_targets_of_make_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"\bmake ([a-z-]+)\b", README))
    assert {"run", "test"} <= named
    assert [name for name in sorted(named) if not re.search(rf"^{name}:", makefile, flags=re.MULTILINE)] == []


def test_the_readmes_speed_ups_are_those_of_the_example() -> None:
    claimed = re.findall(r"([\d.]+) times \(95 %\s+interval ([\d.]+) to ([\d.]+)\)", README)
    assert len(claimed) >= 2
    with (ROOT / "results" / "example" / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["speedup"]]
    names = ("speedup", "speedup_lo", "speedup_hi")
    measured = {tuple(f"{float(row[name]):.1f}" for name in names) for row in rows if row["strategy"] == "direct"}
    assert set(claimed) <= measured


# --- what leads on -------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """Return the anchors of headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / document).read_text(encoding="utf-8"))
    for link in links:
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        path = ROOT / (name or document)
        assert path.exists(), link
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), link


def test_the_files_that_documents_name_are_there() -> None:
    for document in ("README.md", "DESIGN.md", "CONTRIBUTING.md"):
        named = re.findall(r"`((?:strategies|harness|report|tests|conf)/[\w/.]+)`", (ROOT / document).read_text())
        assert [name for name in named if not (ROOT / name).exists()] == [], document


def sections() -> dict[int, set[int]]:
    """The numbered items in each numbered section of the design."""
    parts = re.split(r"^## (\d+)\. ", DESIGN, flags=re.MULTILINE)
    items = (set(map(int, re.findall(r"^(\d+)\. ", text, flags=re.MULTILINE))) for text in parts[2::2])
    return dict(zip(map(int, parts[1::2]), items, strict=True))


def citations() -> Iterator[tuple[Path, int, int | None]]:
    """Find where the code cites the design: the file, the section, the trap or rule in it."""
    for path in CODE:
        words = " ".join(line.strip().lstrip("#").strip() for line in path.read_text(encoding="utf-8").splitlines())
        for listed, items in CITATION.findall(words):
            for section in re.findall(r"\d+", listed):
                yield from ((path, int(section), int(item)) for item in re.findall(r"\d+", items))
                if not items:
                    yield path, int(section), None


def test_the_design_has_what_the_code_cites() -> None:
    there = sections()
    assert sorted(there) == list(range(1, len(there) + 1))
    assert (there[3], there[4]) == (set(range(1, 18)), set(range(1, 13)))
    cited = list(citations())
    assert len(cited) > 30
    assert [one for one in cited if one[1] not in there or (one[2] is not None and one[2] not in there[one[1]])] == []


def test_the_designs_order_of_imports_is_the_one_that_is_tested() -> None:
    (order,) = (block for block in blocks(DESIGN, "text") if "harness:" in block)
    packages = {floor.split(".")[1] for floor in FLOORS if "." in floor and (ROOT / floor.replace(".", "/")).is_dir()}
    named = re.findall(r"[a-z]+", order.replace("strategies\n", "").replace("harness:", "").replace("report:", ""))
    listed = [word for word in named if word in packages]
    assert listed == [floor.split(".")[1] for floor in FLOORS if floor.split(".")[-1] in packages]


def test_every_wing_is_in_the_designs_table() -> None:
    wings = {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}
    listed = {
        name for row in re.findall(r"^\| (`[a-z`, ]+`) \|", DESIGN, flags=re.MULTILINE) for name in row.split("`")
    }
    assert wings <= listed
