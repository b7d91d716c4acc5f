"""Samples that could not be read, listed in a run's folder over all its parts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from diptych import distributed
from diptych.data.loader import Loader
from diptych.training.folder import write_json


def list_of(folder: Path) -> Path:
    """The list of this process: ``skipped.json`` of the main one."""
    return folder / ("skipped.json" if distributed.is_main() else f"skipped-{distributed.rank()}.json")


def read_skipped(path: Path) -> dict[str, str]:
    """Reasons by the sample's index in the source; none where there is no list that can be read."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return {}


def list_skipped(folder: Path, loader: Loader, tell: Callable[[str], None]) -> None:
    """Say what could not be read, and add the samples to those that earlier parts of the run have listed."""
    path = list_of(folder)
    if loader.failures.reasons:
        try:
            before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            write_json(path, before | {str(index): reason for index, reason in loader.failures.reasons.items()})
            tell(f"all samples that could not be read are listed in {path}")
        except (OSError, ValueError, TypeError) as problem:  # not worth a run, nor to hide what ended it
            tell(f"samples that could not be read are not listed in {path}: {problem}")
    if report := loader.report():
        tell(report)
