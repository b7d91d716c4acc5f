"""Which samples could not be read, as a run leaves it."""

from __future__ import annotations

import json
from pathlib import Path

from diptych.data.loader import Loader
from diptych.training.folder import write_json
from diptych.training.watch import Quiet, Watch


def list_failures(path: Path, loader: Loader, watch: Watch | Quiet) -> None:
    """Say what could not be read, and add the samples to those that earlier parts of the run have listed."""
    if loader.failures.reasons:
        try:
            before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            write_json(path, before | {str(index): reason for index, reason in loader.failures.reasons.items()})
            watch.say(f"all samples that could not be read are listed in {path}")
        except (OSError, ValueError, TypeError) as problem:  # not worth a run, nor to hide what ended it
            watch.say(f"samples that could not be read are not listed in {path}: {problem}")
    if report := loader.report():
        watch.say(report)
