"""Tracebacks of what went wrong are whole in files, and a terminal shows their last frames."""

from __future__ import annotations

from pathlib import Path

from harness.isolate.tracebacks import LAST, MOST, fatal_error_in, last_frames, traceback_of

DUMP = """\
Fatal Python error: Segmentation fault

Thread 0x00007f1 (most recent call first):
  File "/here/other.py", line 7 in wait

Current thread 0x00007f2 (most recent call first):
  File "/here/mine.py", line 3 in innermost
  File "/here/mine.py", line 2 in middle
  File "/there/run.py", line 1 in <module>

Extension modules: numpy.core, torch._C (total: 2)
"""


def deep(left: int) -> None:
    if left == 0:
        raise ValueError('  File "looks like a frame", line 1, in words\nsecond line')
    deep(left - 1)


def raised(left: int = 0, cause: Exception | None = None) -> Exception:
    try:
        try:
            deep(left)
        except ValueError as error:
            if cause is not None:
                raise KeyError("outer") from error
            raise
    except Exception as error:
        return error
    raise AssertionError


def test_the_whole_traceback_has_every_frame_and_the_exceptions_before() -> None:
    text = traceback_of(raised(2, KeyError()))
    assert text.count(", in deep") == 3
    assert text.index("ValueError") < text.index("direct cause") < text.index("KeyError: 'outer'")


def test_a_message_of_any_length_leaves_the_frames() -> None:
    text = traceback_of(ValueError("x" * (3 * MOST)))
    assert len(text) < MOST + 100
    assert text.startswith("ValueError: x")


def test_the_last_frames_are_shown_with_how_many_there_are() -> None:
    head, *lines = last_frames(traceback_of(raised(3)), root=Path("/nowhere"))
    assert head == f"  Traceback, the last {LAST} of 5 frames:"
    frames = [line for line in lines if line.startswith('    File "')]
    assert len(frames) == LAST
    assert all(frame.endswith(", in deep") for frame in frames)
    assert "raise ValueError" in "".join(lines[lines.index(frames[-1]) :])
    assert "looks like a frame" not in "".join(lines).replace('raise ValueError(\'  File "looks like a frame"', "")


def test_of_several_exceptions_the_last_ones_frames_are_shown() -> None:
    lines = last_frames(traceback_of(raised(9, KeyError())), root=Path("/nowhere"))
    assert lines[0] == "  Traceback, all frames:"
    assert [line.endswith(", in raised") for line in lines if line.startswith('    File "')] == [True]


def test_paths_below_the_folder_are_relative_to_it() -> None:
    here = Path(__file__)
    _, frame, *_ = last_frames(traceback_of(raised(0)), root=here.parent)
    assert frame.startswith(f'    File "{here.name}", line ')
    _, frame, *_ = last_frames(traceback_of(raised(0)), root=Path("/nowhere"))
    assert f'File "{here}"' in frame


def test_what_holds_no_frame_has_no_lines() -> None:
    for text in (
        "",
        "ValueError: never raised\n",
        traceback_of(ValueError("never raised")),
        "Fatal Python error: so\n",
    ):
        assert last_frames(text, root=Path("/nowhere")) == []


# --- of an interpreter that died -----------------------------------------------------------------------------------


def test_a_dump_is_found_behind_what_was_printed() -> None:
    assert fatal_error_in(f"two words\n{DUMP}") == ("two words\n", DUMP)
    assert fatal_error_in("two words\n") == ("two words\n", "")


def test_a_dumps_frames_are_those_of_the_thread_that_died_the_innermost_last() -> None:
    assert last_frames(DUMP, root=Path("/here")) == [
        "  Traceback, all frames:",
        '    File "/there/run.py", line 1 in <module>',
        '    File "mine.py", line 2 in middle',
        '    File "mine.py", line 3 in innermost',
    ]
