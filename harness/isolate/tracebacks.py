"""Tracebacks of what went wrong, whole as text, and their last frames for a terminal."""

from __future__ import annotations

import traceback
from pathlib import Path

HEAD = "Traceback (most recent call last):"
FATAL = "Fatal Python error: "
"""`faulthandler` begins with this when the interpreter dies; the most recent call comes first."""
FRAME = '  File "'
LAST = 4
"""Frames that a terminal shows."""
MOST = 1 << 20
"""Letters of a traceback that are kept, from its beginning and its end, because a message may have any length."""


def traceback_of(error: BaseException) -> str:
    """Return all that Python would print of an exception, with those that it came from."""
    text = "".join(traceback.format_exception(error))
    return text if len(text) <= MOST else f"{text[: MOST // 2]}\n[...]\n{text[-MOST // 2 :]}"


def fatal_error_in(output: str) -> tuple[str, str]:
    """Split what a process printed before it died from what `faulthandler` printed then, which may be empty."""
    before, head, dump = output.rpartition(FATAL)
    return (before, head + dump) if head else (output, "")


def last_frames(text: str, *, root: Path) -> list[str]:
    """Return the lines of a traceback's last frames, or of a dump of `faulthandler`, with paths relative to ``root``.

    The first line says how many frames there are. There are no lines where the text holds no frame.
    """
    frames = _frames(text)
    if not frames:
        return []
    kept = frames[-LAST:]
    which = f"the last {len(kept)} of {len(frames)} frames" if len(kept) < len(frames) else "all frames"
    lines = [line.replace(f"{FRAME}{root}/", FRAME, 1) for frame in kept for line in frame]
    return [f"  Traceback, {which}:", *(f"  {line}" for line in lines)]


def _frames(text: str) -> list[list[str]]:
    """Return each frame's lines, most recent last, of the last exception of several or of the thread that died."""
    if text.startswith(FATAL):
        lines = text.partition("Current thread ")[2].partition("\n")[2].splitlines()
        ended = next((at for at, line in enumerate(lines) if not line.startswith(FRAME)), len(lines))
        return [[line] for line in reversed(lines[:ended])]
    frames: list[list[str]] = []
    for line in text.rpartition(f"{HEAD}\n")[2].splitlines():
        if line.startswith(FRAME):
            frames.append([line])
        elif line.startswith("    ") and frames:
            frames[-1].append(line)
        elif frames and not line.startswith("  "):  # Here the exception's own words begin.
            break
    return frames
