"""What went wrong, in a line that a terminal can show."""

from __future__ import annotations

import errno
import os
import re

_OF_WRITING = {errno.EEXIST, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# What files and folders are called until they are whole: .result.json.1234, .recipe.json.partial, .model.new-0a1b2c3d.
_TEMPORARY = re.compile(r"(?<![^/])\.([^/]+)\.(?:\d+|partial|new-[0-9a-f]{8})(?![^/])")


def refused(error: OSError) -> str:
    """What the system refused: the path as the user knows it, and why."""
    if not error.strerror:  # of a library, in its own words
        return str(error) or type(error).__name__
    reason = "there is a file of that name" if error.errno == errno.EEXIST else error.strerror
    reason = reason[:1].lower() + reason[1:]
    path = _TEMPORARY.sub(r"\1", str(error.filename2 or error.filename or ""))
    # What is not there, or may be read, is denied to a writer only.
    denied = isinstance(error, PermissionError) and (not os.path.exists(path) or os.access(path, os.R_OK))
    if error.errno in _OF_WRITING or (denied and path):
        return f"cannot write {path}: {reason}" if path else f"cannot write: {reason}"
    return f"cannot open {path}: {reason}" if path else reason
