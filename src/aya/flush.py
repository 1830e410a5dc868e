"""Having a file on the disk itself, past the drive's own cache."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

# macOS alone has it: fsync(2) there hands the data to the drive, which may keep it in its cache through a power cut.
_FULL: int | None = getattr(fcntl, "F_FULLFSYNC", None)


def flush(handle: int) -> None:
    """Return when what was written to an open file or directory survives a power cut. Raises OSError.

    A file system that has no such call (a network's) gets what fsync does.
    """
    if _FULL is not None:
        with suppress(OSError):
            fcntl.fcntl(handle, _FULL)
            return
    os.fsync(handle)
