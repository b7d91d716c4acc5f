"""The command line with parts of four images, so that several processes share a few; torchrun starts it.

The process of the number ``KILLED_RANK`` is killed after its first part. What the main one does by itself takes longer
than a training would wait for it.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from diptych import distributed
from diptych.cli.main import main
from diptych.evaluation import embedding, features, probing


def end_after_a_part() -> None:
    """Kill this process when it has made a part, and kept it."""
    made = features.made

    def some(*arguments: Any) -> Iterator[Any]:
        for number, part in enumerate(made(*arguments)):
            if number:
                os.kill(os.getpid(), signal.SIGKILL)
            yield part

    features.made = some


def be_slow() -> None:
    """A probe, which the main process fits, takes its time."""
    fitted = probing.fitted

    def slowly(*arguments: Any) -> Any:
        time.sleep(1.5)
        return fitted(*arguments)

    probing.fitted = slowly


if __name__ == "__main__":
    embedding.BATCH = embedding.BATCHES = 2
    distributed.PATIENCE = timedelta(seconds=1)
    be_slow()
    if os.environ.get("KILLED_RANK") == os.environ.get("RANK"):
        end_after_a_part()
    status = main()
    # A thread of gloo's that outlives its group may abort the process at its end, now and then.
    threads = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
    if left := [name for name in threads if "gloo" in name]:
        sys.exit(f"threads outlive the run: {left}")
    sys.exit(status)
