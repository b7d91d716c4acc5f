"""Verbs and what ``--help`` says of them, both from their functions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

from cyclopts import App

_WIDTH = 78  # of an example's lines, a final backslash left out; terminals have 80 columns


def add_verb(app: App, verb: Callable[..., object]) -> None:
    """Make a function a verb, its docstring the help: what it does first, examples last, below the parameters.

    A paragraph becomes one line, which the terminal wraps; an example too long for a line goes on in the next, before a
    flag, as a shell takes it.
    """
    text = inspect.getdoc(verb) or ""
    does, _, examples = text.partition("\nParameters\n---")[0].partition("\nExample:\n")
    paragraphs = [" ".join(paragraph.split()) for paragraph in does.strip().split("\n\n")]
    lines = [line for command in examples.strip("\n").split("\n") for line in _lines(command)]
    app.command(verb, help="\n\n".join(paragraphs), help_epilogue="\n".join(["Example:", *lines]))


def _lines(command: str) -> list[str]:
    first, *flags = re.split(r" (?=--)", command.rstrip())
    lines = [first]
    for flag in flags:
        if len(f"{lines[-1]} {flag}") <= _WIDTH:
            lines[-1] += f" {flag}"
        else:
            lines[-1] += " \\"
            lines.append(f"        {flag}")
    return lines
