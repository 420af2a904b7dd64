"""All runs of a folder as a static site: a page for each run, and an index by device and model.

Links are relative, so that the site can lie at any address, and every page is one file beside its card.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from harness.schema import StrictStr, fitted, read_json
from harness.store.atomic import write_whole
from harness.store.results import began
from report.compare import one_machine
from report.matching import Point, matched
from report.reading.run import Run, read_run
from report.render.card import draw_card
from report.render.document import (
    CARD,
    Bullets,
    Cell,
    Column,
    Document,
    Drawing,
    Paragraph,
    Section,
    filled,
    number,
    words,
)
from report.render.html import render_html
from report.sections.labels import labelled
from report.sections.points_table import speedup_cell
from report.sections.runs_line import draw_runs
from report.sections.verdict import Choice, choices
from report.write import report_of, shown_in
from strategies.errors import UserError

MARK = ".sambatch-site"
"""The file by which a site's folder is known; it lists the pages' folders, which a later call may replace."""
INDEX = "index.html"
TIME = "%Y-%m-%d %H:%M"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A run of the site. page: its folder there. document: its report. choice: its best point, if any."""

    run: Run
    page: str
    document: Document
    choice: Choice | None

    @property
    def place(self) -> tuple[str, str]:
        """Device and model, by which the index is divided."""
        return self.run.device, " and ".join(map(str, self.run.summary["model"].dropna().unique())) or "no model"

    @property
    def age(self) -> tuple[str, str]:
        """Runs whose folders were named by people, without a time, count as the oldest."""
        time = began(self.run.folder.resolve())
        return f"{time:%Y%m%d%H%M%S}" if time else "", self.run.name


def write_site(results: Path, output: Path | None = None, *, address: str = "") -> Path:
    """Render all runs of a folder; returns the path of the index.

    output: the site's folder, ``site`` in the folder of runs where it is None. address: where the site will be, for the
    cards that previews of links show.
    Raises UserError where there is no run, and where the output holds anything but a site.
    """
    out = output or results / "site"
    if not results.is_dir():
        raise UserError(f"{results} is no folder: give one that holds runs, as results")
    before = _pages_of(out)
    listed, damaged = _runs(results, out)
    if not listed:
        raise UserError(f"{results} holds no finished run: give the folder that holds them, as results")
    address = f"{address.rstrip('/')}/" if address else ""
    index = _index(listed, damaged, results)
    pages = [one.page for one in listed]
    write_whole(out / MARK, json.dumps([*before, *(page for page in pages if page not in before)]))
    for one in listed:
        _write_page(out / one.page, one.document, f"{address}{one.page}/" if address else "")
    write_whole(out / INDEX, render_html(index, shown_in(index)))
    for page in set(before) - set(pages):
        shutil.rmtree(out / page, ignore_errors=True)
    write_whole(out / MARK, json.dumps(pages))
    return out / INDEX


def _pages_of(out: Path) -> list[str]:
    """Return the folders of pages that a site has. Raises UserError where the folder holds something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return []
    try:
        found = fitted(list[StrictStr], read_json(out / MARK))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{out} is there and holds no site that was written before: give an empty or a new folder as --output"
        ) from error
    return [name for name in found if name == _page(name)]  # A file that was edited by hand leads nowhere else.


def _runs(results: Path, out: Path) -> tuple[list[Listed], list[str]]:
    """Return a folder's runs, the newest first, and what is wrong with those that can't be read."""
    listed: list[Listed] = []
    damaged: list[str] = []
    for folder in sorted(results.iterdir()):
        is_run = (folder / "points").is_dir() or (folder / "summary.csv").is_file()
        if folder.is_symlink() or not is_run or folder.resolve() == out.resolve():
            continue
        try:
            run = read_run(folder)
            found = choices(run)
            document = replace(report_of(run), back=f"../{INDEX}")
        except (OSError, UserError) as error:  # Runs may be moved away meanwhile.
            damaged.append(str(error) if isinstance(error, UserError) else f"{folder} can't be read ({error.strerror})")
            continue
        page = _free(_page(folder.name), [INDEX, *(one.page for one in listed)])
        listed.append(Listed(run=run, page=page, document=document, choice=found[-1] if found else None))
    return sorted(listed, key=lambda one: one.age, reverse=True), damaged


def _page(name: str) -> str:
    """Return a name that is the same in every address and on every disk."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip(".-") or "run"


def _free(page: str, taken: Sequence[str]) -> str:
    return next(name for name in (page, *(f"{page}-{at}" for at in range(2, len(taken) + 3))) if name not in taken)


def _write_page(folder: Path, document: Document, address: str) -> None:
    if document.main_result is not None:
        write_whole(folder / CARD, draw_card(document))
    write_whole(folder / INDEX, render_html(document, shown_in(document), address=address))


def _index(listed: Sequence[Listed], damaged: Sequence[str], results: Path) -> Document:
    placed = sorted(listed, key=lambda one: one.place)  # The newest of one place stays the first.
    places = [(place, list(runs)) for place, runs in groupby(placed, key=lambda one: one.place)]
    places.sort(key=lambda one: one[1][0].age, reverse=True)
    sections = [_place(place, runs, name=f"trend-{at}") for at, (place, runs) in enumerate(places)]
    if damaged:
        sections.append(Section(title="Left out", blocks=(Bullets(items=tuple(damaged)),)))
    devices, models = (len({place[at] for place, _ in places}) for at in (0, 1))
    return Document(
        title=f"Batching strategies, measured: {_counted(len(listed), 'run')} on {_counted(devices, 'device')} with "
        f"{_counted(models, 'model')}",
        about="The latest verdict of each device and model comes first.",
        sections=tuple(sections),
    )


def _place(place: tuple[str, str], runs: Sequence[Listed], name: str) -> Section:
    device, model = place
    latest = runs[0]
    blocks = [
        Paragraph(text=f"**{_plainly(latest.document.title)}**"),
        _trend(runs, name),
        filled(
            [
                (Column(title="run", words=True), [_named(one) for one in runs]),
                (labelled("speedup"), [Cell() if one.choice is None else speedup_cell(one.choice.row) for one in runs]),
                (Column(title="finding", words=True), [words(_plainly(one.document.title)) for one in runs]),
                (Column(title="began", words=True), [_began(one) for one in runs]),
                (Column(title="points"), [number(len(one.run.summary), "{:,.0f}") for one in runs]),
            ],
            keep=1,
        ),
    ]
    return Section(title=f"{model} on {device}", blocks=tuple(block for block in blocks if block is not None))


def _named(one: Listed) -> Cell:
    return Cell(text=_plainly(one.run.name), key=one.run.name, link=f"{one.page}/{INDEX}")


def _began(one: Listed) -> Cell:
    time = began(one.run.folder.resolve())
    return words(f"{time:{TIME}}" if time else None)


def _plainly(text: str) -> str:
    """Return a text without what paragraphs and cells take for code or emphasis."""
    return text.replace("`", "'").replace("**", "")


def _trend(runs: Sequence[Listed], name: str) -> Drawing | None:
    """Draw the point that the latest run is for, in all runs of its machine that have it; None where no other has."""
    latest = runs[0]
    if latest.choice is None:
        return None
    alike = [latest, *(one for one in runs[1:] if one_machine(latest.run, one.run))]
    of_point: dict[int, Point] = {}
    for match in matched([one.run for one in alike]).matches:
        if match[0] is not None and match[0].row["point"] == latest.choice.row["point"]:
            of_point = {at: point for at, point in enumerate(match) if point is not None}
    if len(of_point) < 2:
        return None
    oldest_first = sorted(of_point, reverse=True)
    return draw_runs([(alike[at].run.name, of_point[at].row) for at in oldest_first], name=name)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
