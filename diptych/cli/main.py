"""The command line: one short file a verb, imported only when its verb is asked for.

Exit status: 0 done, 1 failed, 2 wrong use.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter

from diptych.errors import ConfigError, DiptychError

INTERRUPTED = 130  # what shells report for a program ended by Ctrl-C

app = App(
    name="diptych",
    help="CLIP as software: train two towers into one embedding space, classify without examples, evaluate, look.",
    help_format="plaintext",
    help_epilogue="diptych VERB --help shows an example of each. MODEL is a folder, a file or hf:org/name.",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=()),  # no --no-resume beside --resume
)
for verb in ("demo", "train", "evaluate", "classify", "inspect"):
    app.command(f"diptych.cli.{verb}:{verb}", name=verb)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status; errors that Diptych raises on purpose are told in one line."""
    try:
        status = app(arguments, exit_on_error=False, print_error=True, result_action="return_value")
        return status if isinstance(status, int) else 0
    except CycloptsError:  # already printed
        return 2
    except DiptychError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stderr.close()
    return 0
