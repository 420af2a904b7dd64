from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data.group import Frame, Group
from harness.job.run import spread
from harness.pipeline.plan import Chunk, distinct_colours, work_of
from strategies.errors import UserError


def picture() -> np.ndarray:
    return np.zeros((8, 8, 3), dtype=np.uint8)


def group(name: str, *targets: str) -> Group:
    make: Callable[[str], Frame] = partial(Frame, image=picture)
    frames = tuple(make(name=target, picture=Path(f"{target}.{at}.jpg")) for at, target in enumerate(targets))
    return Group(name=name, object_ids=(1, 2), references=(make(name="r"),), targets=frames)


def test_batches_are_slices_of_the_targets() -> None:
    (work,) = work_of([group("wings", *"abcde")], 1, Path("out"))
    assert [[target.name for target in batch] for batch in work.batches(2)] == [["a", "b"], ["c", "d"], ["e"]]
    assert work.object_ids == (1,)
    assert work.mask_of(work.group.targets[0]) == Path("out/wings/a.png")


def names(chunk: Chunk) -> list[str]:
    return ["".join(target.name for target in batch) for batch in chunk.batches]


def test_a_chunk_keeps_whole_batches_of_which_a_mask_is_missing() -> None:
    (work,) = work_of([group("wings", *"abcdefg")], None, Path("out"))
    whole = Chunk.of(work, batch=2, remembered=False)
    assert names(whole) == ["ab", "cd", "ef", "g"]
    left = whole.without({"a", "c", "d", "g"})
    assert left is not None
    assert names(left) == ["ab", "ef"]
    assert left.wanted == {"b", "e", "f"}
    assert whole.without(set("abcdefg")) is None
    assert [names(piece) for piece in whole.cut(3)] == [["ab", "cd", "ef"], ["g"]]
    assert [piece.wanted for piece in left.cut(1)] == [{"b"}, {"e", "f"}]


def test_a_chunk_whose_targets_are_remembered_begins_with_the_first_and_is_not_cut() -> None:
    (work,) = work_of([group("wings", *"abcdefg")], None, Path("out"))
    left = Chunk.of(work, batch=2, remembered=True).without({"a", "c", "d", "g"})
    assert left is not None
    assert names(left) == ["ab", "cd", "ef"]
    assert [names(piece) for piece in left.cut(1)] == [["ab", "cd", "ef"]]


@pytest.mark.parametrize(
    ("groups", "named"),
    [
        ([group("a", "x"), group("a", "y")], "two groups"),
        ([group("labels.csv", "x")], "can't be the name"),
        ([group("a", "x", "x")], "x.0.jpg and x.1.jpg share a name"),
        ([group("a", "x\udcff")], "no UTF-8"),
    ],
)
def test_names_that_would_meet_or_can_not_be_are_refused(groups: list[Group], named: str) -> None:
    with pytest.raises(UserError, match=named):
        work_of(groups, None, Path("out"))


def reference(folder: Path, name: str, colours: list[int] | None) -> Frame:
    """A reference whose mask has a palette of these colours, or none."""
    mask = Image.new("L" if colours is None else "P", (8, 8))
    if colours is not None:
        mask.putpalette(colours)
    path = folder / f"{name}.png"
    mask.save(path)
    return Frame(name=name, image=picture, mask=path)


def test_a_palette_has_a_colour_for_every_id_from_the_first_reference_that_has_one(tmp_path: Path) -> None:
    few, more = [0, 0, 0, 255, 0, 0], [9, 9, 9, 9, 9, 9, 0, 255, 0]
    references = [reference(tmp_path, "none", None), reference(tmp_path, "few", few), reference(tmp_path, "more", more)]
    whole = replace(group("wings", "a"), references=tuple(references))

    def palette_for(highest: int) -> list[int]:
        (work,) = work_of([replace(whole, object_ids=(1, highest))], None, Path("out"))
        return list(work.palette())

    assert palette_for(2) == few + more[6:]
    assert palette_for(5)[:9] == few + more[6:]
    assert palette_for(5)[9:] == list(distinct_colours())[9:]


def test_a_preview_spreads_over_all_targets() -> None:
    groups = [group("a", *"bcdefgh"), group("i", "j"), group("k", *"lmnopqrs")]
    chosen = spread(groups, 4)
    assert [(one.name, [target.name for target in one.targets]) for one in chosen] == [
        ("a", ["d", "h"]),
        ("k", ["n", "r"]),
    ]
    assert sum(len(one.targets) for one in spread(groups, 100)) == 16


def test_colours_without_a_palette_are_those_of_pascal_voc() -> None:
    colours = [tuple(distinct_colours()[3 * index : 3 * index + 3]) for index in range(256)]
    assert colours[:4] == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]
    assert len(set(colours)) == 256
