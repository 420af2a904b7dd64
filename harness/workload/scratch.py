"""The folder under TMPDIR that a sweep's features lie in while it runs."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from strategies.errors import UserError

PREFIX = "sambatch-features-"
LOCK = "lock"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a new folder, and remove it afterwards; what killed runs left behind is removed first.

    A lock shows whose sweep still runs, because the system takes it back however a process ends; a process number
    would not do, because TMPDIR may be shared with other containers. Raises UserError where no folder can be made.
    """
    try:
        _remove_abandoned(Path(tempfile.gettempdir()))
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    except OSError as error:
        raise UserError(
            f"no folder for features can be made ({error.strerror or error}): point TMPDIR to a disk with room"
        ) from error
    with (folder / "unlocked").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Other sweeps go by this name, so it exists only while its lock is held.
        (folder / "unlocked").rename(folder / LOCK)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def empty(folder: Path) -> None:
    """Remove all that was put into the folder; it stays the sweep's."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink()


def _remove_abandoned(temporary: Path) -> None:
    for lock in temporary.glob(f"{PREFIX}*/{LOCK}"):
        try:
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:  # The lock is held, another user's, or already gone.
            continue
