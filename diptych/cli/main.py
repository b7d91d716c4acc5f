"""The command line: one short file a verb, whose heavy imports wait until the verb runs.

Exit status: 0 done, 1 failed, 2 wrong use.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from diptych.cli.classify import classify
from diptych.cli.convert import convert
from diptych.cli.datasets import datasets
from diptych.cli.demo import demo
from diptych.cli.evaluate import evaluate
from diptych.cli.finetune import finetune
from diptych.cli.help import add_verb
from diptych.cli.inspect import inspect
from diptych.cli.messages import refused
from diptych.cli.recipes import recipes
from diptych.cli.report import report
from diptych.cli.tokenizer import tokenizer
from diptych.cli.train import train
from diptych.cli.tune import tune
from diptych.errors import ConfigError, DiptychError, lacks_memory
from diptych.printable import printable

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
for verb in (demo, recipes, train, tune, finetune, datasets, evaluate, report, classify, inspect, convert):
    add_verb(app, verb)
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
        status = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        return status if isinstance(status, int) else 0
    except CycloptsError as error:
        print(f"error: {printable(_misuse(error))}", file=sys.stderr)
        return 2
    except DiptychError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stderr.close()
    except (OSError, MemoryError, RuntimeError) as error:  # a full disk, a folder that cannot be written
        if lacks_memory(error):  # Python's own MemoryError says nothing
            told = str(error).partition("\n")[0] or type(error).__name__
            told = f"not enough memory; a smaller batch or model needs less: {told}"
        elif isinstance(error, OSError):
            told = refused(error)
        else:
            raise
        print(f"error: {printable(told)}", file=sys.stderr)
        return 1
    return 0


def _misuse(error: CycloptsError) -> str:
    """A wrong command line in the words and the form of our own errors."""
    told = str(error).rstrip(".")
    if isinstance(error, UnusedCliTokensError):
        told = f"too many arguments: {' '.join(error.unused_tokens or ())}"
    verb = " ".join(["diptych", *(error.command_chain or ())])
    return f"{told[:1].lower()}{told[1:]}; see {verb} --help"


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"warning: {printable(str(message))}", file=sys.stderr)
