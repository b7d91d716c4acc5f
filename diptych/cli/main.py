"""The command line: one short file a verb, whose heavy imports wait until the verb runs.

Exit status: 0 done, 1 failed, 2 wrong use.
"""

from __future__ import annotations

import errno
import io
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from cyclopts import App, CycloptsError, Parameter

from diptych.cli.classify import classify
from diptych.cli.convert import convert
from diptych.cli.demo import demo
from diptych.cli.evaluate import evaluate
from diptych.cli.inspect import inspect
from diptych.cli.tokenizer import tokenizer
from diptych.cli.train import train
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
for verb in (demo, train, evaluate, classify, inspect, convert):
    app.command(verb)
app.command(tokenizer)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status; what the user or the system can mend is told in one line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files and labels may be beyond the terminal's encoding
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.showwarning = _warn  # ty: ignore[invalid-assignment] - the documented way to show them otherwise
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        status = app(arguments, exit_on_error=False, print_error=True, result_action="return_value")
        return status if isinstance(status, int) else 0
    except CycloptsError:  # already printed
        return 2
    except DiptychError as error:
        print(f"error: {_printable(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stderr.close()
    except (OSError, MemoryError, RuntimeError) as error:  # a full disk, a folder that cannot be written
        lacks_memory = _lacks_memory(error)
        if not lacks_memory and not isinstance(error, OSError):
            raise
        advice = "not enough memory; a smaller batch or model needs less: " if lacks_memory else ""
        told = _printable(str(error)).partition("\n")[0]  # Python's own MemoryError says nothing
        print(f"error: {advice}{told or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


def _lacks_memory(error: Exception) -> bool:
    """Whether this is one of the ways in which Python, the system and PyTorch's devices say so."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, without importing it
        or "can't allocate memory" in str(error)
    )


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"warning: {_printable(str(message))}", file=sys.stderr)


def _printable(text: str) -> str:
    """Without the control characters that names in a damaged file may hold: a terminal would obey them."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
