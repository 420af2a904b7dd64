"""report.html: one file that needs no network, whose tables sort and whose rows can be searched."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from report.render.html import TEMPLATES
from tests.support.harness_runs import ended, row
from tests.support.paths import ROOT
from tests.support.report_runs import AGREED, CONFIG, FASTER, SERIES, draw_scene, table_cells, written_report_of

VOID = {"meta", "link", "input", "img", "br", "wbr"}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NODE = shutil.which("node")
EXAMPLE = ROOT / "results" / "example" / "report.html"
NASTY = "<script>alert('木')</script> & `a` \"b\""


class Page(HTMLParser):
    """A file's tables and addresses, parsed as by a browser. Making one fails where a tag is opened and not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.scripts = 0
        self.text = ""
        self.tables: list[list[list[dict[str, Any]]]] = []
        self.headers: list[list[str]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.addresses += [found[name] for name in ("src", "href", "action", "srcset", "data") if name in found]
        self.ids += [found["id"]] if "id" in found else []
        self.scripts += tag == "script"
        if tag == "table":
            self.tables.append([])
            self.headers.append([])
        elif tag == "tr" and "found-by-search" in found.get("class", ""):
            self.tables[-1].append([])
        elif tag == "td":
            key = {"key": found["data-key"]} if "data-key" in found else {}
            self.tables[-1][-1].append({"dataset": key, "textContent": ""})
        elif tag == "th":
            self.headers[-1].append(found["data-title"])
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "td" in self._open:
            self.tables[-1][-1][-1]["textContent"] += data


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run with something for every section."""
    folder = tmp_path_factory.mktemp("html") / "run"
    draw_scene(folder / "pictures" / "0a1b2c3d-o4", ["one", "two"])
    cost = {"encode_fps": 80.0, "peak_rss_mb": 500.0, "setup_s": 4.0, "projected_min": 7.0, "energy_j_per_1000": 5.0}
    rows = [
        row("one", batch=16, objects=4, fps=100.0, **FASTER | AGREED | cost),
        row("two", batch=8, objects=1, refs=4, fps=20.0, **FASTER | AGREED | cost | {"speedup": 0.9}),
        row("three", batch=2, objects=1, strategy=NASTY, variant="", fps=3.0),
        ended("four", "oom", NASTY, batch=8, objects=4),
        ended("five", "skipped", "no GPU", batch=1, objects=1),
    ]
    written_report_of(folder, rows, config=CONFIG, details={"one": {"series": SERIES}})
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_page_is_whole_and_asks_for_nothing_else(html: str) -> None:
    page = Page(html)
    assert page.addresses, "there are figures and links"
    for address in page.addresses:
        assert address.startswith(("data:", "#")), address
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\((?!#)", html)
    assert "default-src 'none'" in html
    assert len(set(page.ids)) == len(page.ids)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert page.scripts == 1


@pytest.mark.slow
def test_the_page_says_what_the_markdown_says(html: str, tmp_path: Path) -> None:
    rows = [row("one", **FASTER), row("two", batch=8)]
    text = written_report_of(tmp_path / "run", rows)
    page = Page((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    said = [dict(zip(page.headers[0], [cell["textContent"] for cell in line], strict=True)) for line in page.tables[0]]
    assert said == table_cells(text)
    for title in re.findall(r"^## (.*)$", text, flags=re.MULTILINE):
        assert title in page.text


def test_names_are_text_and_nothing_else(html: str) -> None:
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    assert "<script>alert('木')</script>" in Page(html).text


def node(program: str, argument: Any) -> Any:
    """Run the page's own script and a program after it; returns the JSON that they print."""
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    input_line = "const given = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
    assert NODE is not None
    done = subprocess.run(
        [NODE, "-e", f"{script}\n{input_line}\nconsole.log(JSON.stringify((() => {{ {program} }})()));"],
        input=json.dumps(argument),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


SORT = """
  const body = {rows: given.rows.map((cells) => ({cells})), append(...rows) { this.rows = rows; }};
  sortRows({tBodies: [body]}, given.column, given.descending);
  return body.rows.map((row) => row.cells[given.column].textContent);
"""


@pytest.mark.slow
@pytest.mark.skipif(NODE is None, reason="needs node, to run the page's script")
@pytest.mark.parametrize(
    ("title", "ascending"),
    [
        ("batch", ["1", "2", "8", "8", "16"]),
        ("fps", ["3.0*", "20.0", "100.0", "", ""]),
        ("speedup", ["0.90 (4.21-4.69)", "4.34 (4.21-4.69)", "", "", ""]),
        ("status", ["ok", "ok", "ok", "oom", "skipped"]),
    ],
)
def test_tables_sort_by_value_with_nothing_last(html: str, title: str, ascending: list[str]) -> None:
    page = Page(html)
    (at,) = [index for index, header in enumerate(page.headers) if {"verdict", title} <= set(header)]
    asked = {"rows": page.tables[at], "column": page.headers[at].index(title)}
    known = [text for text in ascending if text]
    found = node(SORT, asked | {"descending": False})
    assert [text.rstrip("*") for text in found] == [text.rstrip("*") for text in ascending]
    descending = node(SORT, asked | {"descending": True})
    assert [text.rstrip("*") for text in descending[: len(known)]] == [text.rstrip("*") for text in reversed(known)]


@pytest.mark.skipif(NODE is None, reason="needs node, to run the page's script")
@pytest.mark.parametrize(
    ("query", "found"),
    [("", True), ("direct", True), ("OOM direct", True), ("  8 ", True), ("sequential", False), ("direct 9", False)],
)
def test_a_row_is_found_by_all_words(query: str, found: bool) -> None:
    asked = {"text": "Direct (shared) 8 4 oom", "query": query}
    assert node("return matches(given.text, given.query.trim());", asked) is found


COPY = """
  const cell = (text, kind) => ({textContent: text, className: kind});
  const row = (texts) => ({hidden: texts[0], cells: texts.slice(1).map((one) => cell(one, ""))});
  const body = {rows: given.rows.map(row)};
  return asMarkdown({tHead: {rows: [{cells: [cell("Strategy", "words"), cell("Speed-up", "")]}]}, tBodies: [body]});
"""


@pytest.mark.skipif(NODE is None, reason="needs node, to run the page's script")
def test_a_table_is_copied_as_markdown_as_far_as_it_is_shown() -> None:
    asked = {"rows": [[False, " multi_session\n", "1.07*"], [True, "hidden", "2"], [False, "a|`b`<i>&lt;", "3"]]}
    assert node(COPY, asked).splitlines() == [
        "| Strategy | Speed-up |",
        "| --- | ---: |",
        r"| multi\_session | 1.07\* |",
        r"| a\|\`b\`\<i\>\&lt; | 3 |",
    ]


# --- in a browser --------------------------------------------------------------------------------------------------

QUIET = "--disable-background-networking --disable-component-update --disable-sync --disable-quic --no-first-run"
SELF_TEST = """
<script>
const faults = [];
window.addEventListener("error", (event) => faults.push(event.message));
document.addEventListener("securitypolicyviolation", (event) => faults.push(event.blockedURI));
window.addEventListener("load", () => {
  const table = [...document.querySelectorAll("table")].find((one) => /verdict/i.test(one.tHead.textContent));
  const titles = [...table.tHead.rows[0].cells].map((cell) => cell.dataset.title ?? cell.textContent.trim());
  const column = titles.indexOf("batch");
  const shown = () => [...table.tBodies[0].rows].map((row) => row.cells[column].textContent.trim());
  table.tHead.rows[0].cells[column].querySelector("button").click();
  const ascending = shown();
  table.tHead.rows[0].cells[column].querySelector("button").click();
  const descending = shown();
  const search = document.getElementById("search");
  search.value = table.tBodies[0].rows[0].textContent.trim().split(/\\s+/).join(" ");
  search.dispatchEvent(new Event("input"));
  const found = [...table.tBodies[0].rows].filter((row) => !row.hidden).length;
  const table_of = table.closest(".table");
  const copies = table_of === null ? 0 : table_of.querySelectorAll("button.copy:not([hidden])").length;
  const pictures = [...document.images].filter((one) => one.naturalWidth > 0).length;
  const asked = performance.getEntriesByType("resource").map((one) => one.name);
  const requests = asked.filter((one) => !one.startsWith("data:"));
  const dump = document.createElement("pre");
  dump.id = "self-test";
  dump.textContent = JSON.stringify({ faults, requests, ascending, descending, found, pictures, copies });
  document.body.append(dump);
});
</script>
"""


def opened(html: str, folder: Path) -> dict[str, Any]:
    """Sort and search a page in a browser; returns what happened."""
    return dumped(html, folder, SELF_TEST)


def dumped(html: str, folder: Path, script: str, *options: str) -> dict[str, Any]:
    """Open a page in a headless Chromium; returns its console messages, and what a script in it found."""
    page = folder / "page.html"
    page.write_text(html.replace("<head>", f"<head>{script}"), encoding="utf-8")
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"),
            *(*QUIET.split(), "--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom"),
            *(*options, page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    dump = re.search(r'<pre id="self-test">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert dump is not None, done.stdout[-2000:] + done.stderr
    found: dict[str, Any] = json.loads(unescape(dump.group(1)))
    return found | {"console": [line for line in done.stderr.splitlines() if "CONSOLE" in line]}


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium, to open the page in: make browser")


@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize("which", ["made", "example"])
def test_in_a_browser_the_page_sorts_and_searches_without_fault_or_network(
    which: str, html: str, tmp_path: Path
) -> None:
    page = html if which == "made" else EXAMPLE.read_text(encoding="utf-8")
    found = opened(page, tmp_path)
    assert (found["faults"], found["requests"], found["console"]) == ([], [], [])
    batches = [int(batch) for batch in found["ascending"]]
    assert batches == sorted(batches)
    assert found["descending"] == [str(batch) for batch in reversed(batches)]
    assert 1 <= found["found"] < len(batches)
    assert found["pictures"] == 1, "the masks; plots are parts of the page"
    assert found["copies"]


PHONE = """
<script>
window.addEventListener("load", () => {
  const frame = document.createElement("iframe");
  frame.style = "width: 400px; height: 800px; border: 0";
  frame.srcdoc = PAGE;
  frame.onload = () => setTimeout(() => {
    const page = frame.contentDocument;
    const table = [...page.querySelectorAll("table")].find((one) => one.querySelector("th[data-title=verdict]"));
    const [first, second] = table.tBodies[0].rows[0].cells;
    const hint = !table.closest(".table").querySelector(".hint").hidden;
    const seen = [first.getBoundingClientRect().left, second.getBoundingClientRect().right];
    table.parentElement.scrollLeft = 10000;
    const scrolled = table.parentElement.scrollLeft;
    const pinned = first.getBoundingClientRect().left === seen[0];
    const dump = document.createElement("pre");
    dump.id = "self-test";
    const titles = [...table.tHead.rows[0].cells].map((cell) => cell.dataset.title).slice(0, 2);
    const width = page.documentElement.scrollWidth;
    dump.textContent = JSON.stringify({ titles, seen, hint, scrolled, pinned, width });
    document.body.append(dump);
  }, 200);
  document.body.append(frame);
});
</script>
"""


@pytest.mark.browser
@needs_chromium
def test_on_a_phone_strategy_and_speed_up_are_seen_and_that_there_is_more_is_said(html: str, tmp_path: Path) -> None:
    """The page is in a frame of 400 pixels, because a headless browser's window has 500 at least."""
    script = PHONE.replace("PAGE", json.dumps(html).replace("</", "<\\/"))
    found = dumped("<html><head></head><body></body></html>", tmp_path, script)
    assert found["titles"] == ["strategy", "speedup"]
    left, right = found["seen"]
    assert 0 <= left < right <= 400
    assert found["width"] <= 400, "the page itself does not scroll sideways"
    assert found["hint"]
    assert found["scrolled"] > 0
    assert found["pinned"]


PAPER = "--window-size=733,1000"  # of A4, Chromium's margins leave 718 pixels, and its scroll bar takes 15
WIDTHS = """
<script>
window.addEventListener("load", () => {
  const dump = document.createElement("pre");
  dump.id = "self-test";
  const wide = [...document.querySelectorAll("table")].map((one) => one.getBoundingClientRect().right);
  dump.textContent = JSON.stringify({ page: document.documentElement.clientWidth, tables: wide });
  document.body.append(dump);
});
</script>
"""


@pytest.mark.browser
@needs_chromium
def test_no_table_is_wider_than_paper(tmp_path: Path) -> None:
    """The page is shown in its print style, because a headless browser can't measure a printed table."""
    cost = {"encode_fps": 80.0, "setup_s": 14.5, "bank_s": 0.125, "cpu_s_per_1000": 1694.5, "sdpa": "flash+efficient"}
    memory = dict.fromkeys(("peak_rss_mb", "vram_peak_mb", "vram_reserved_mb", "vram_device_mb"), 71234.5)
    rate = {"gflop_per_target": 1234.5, "gflop_per_s": 12345.5, "matrix_share": 0.27, "j": 0.9, "f": 0.9, "iou_p1": 0.9}
    calls = ("memory_attention", "mask_decoder", "vision_encoder", "memory_encoder")
    details = {
        "setup_seconds": {"process": 12.0, "model": 12.0, "features": 12.0},
        "stages": {"predict": [1.0], "calls": {name: [0.2] for name in calls}},
        "agreement": {"per_object": {f"{'w' * 60}/1": {"iou_mean": 0.5}}},
    }
    measured = FASTER | AGREED | cost | memory | rate
    rows = [
        row(f"p{refs}", strategy="extended_session", refs=refs, dtype=dtype, batch=128, **measured)
        for refs, dtype in ((1, "fp32"), (16, "bf16"))
    ]
    text = written_report_of(tmp_path / "run", rows, config=CONFIG, details={one["point"]: details for one in rows})
    assert text.count("|---") > 5
    html = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    dump = dumped(html.replace("@media print", "@media all"), tmp_path, WIDTHS, PAPER)
    assert len(dump["tables"]) > 5
    assert max(dump["tables"]) <= dump["page"]


@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("<script>nothing.there()</script>", "faults"),
        ("<script>console.error('no')</script>", "console"),
        ('<img src="http://127.0.0.1:9/x.png">', "faults"),
    ],
)
def test_what_is_wrong_with_a_page_is_found_in_a_browser(html: str, harm: str, found: str, tmp_path: Path) -> None:
    assert opened(html.replace("<main>", f"<main>{harm}"), tmp_path)[found]


@pytest.mark.browser
@needs_chromium
def test_a_request_is_found_where_the_page_does_not_forbid_it(html: str, tmp_path: Path) -> None:
    open_to_all = re.sub(r"<meta http-equiv[^>]*>", "", html)
    assert opened(open_to_all.replace("<main>", '<main><img src="http://127.0.0.1:9/x.png">'), tmp_path)["requests"]
