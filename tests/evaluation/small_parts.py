"""The command line with parts of four images, so that several processes share a few; torchrun starts it.

The process of the number ``KILLED_RANK`` is killed after its first part.
"""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diptych.cli.main import main
from diptych.evaluation import embedding, features


def end_after_a_part() -> None:
    """Kill this process when it has made a part, and kept it."""
    made = features.made

    def some(*arguments: Any) -> Iterator[Any]:
        for number, part in enumerate(made(*arguments)):
            if number:
                os.kill(os.getpid(), signal.SIGKILL)
            yield part

    features.made = some


if __name__ == "__main__":
    embedding.BATCH = embedding.BATCHES = 2
    if os.environ.get("KILLED_RANK") == os.environ.get("RANK"):
        end_after_a_part()
    status = main()
    # A thread of gloo's that outlives its group may abort the process at its end, now and then.
    threads = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
    if left := [name for name in threads if "gloo" in name]:
        sys.exit(f"threads outlive the run: {left}")
    sys.exit(status)
