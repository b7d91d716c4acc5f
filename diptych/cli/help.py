"""Verbs and what ``--help`` says of them, both from their functions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import get_type_hints

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
    for described in (verb, *filter(is_dataclass, get_type_hints(verb).values())):
        described.__doc__ = _unbroken(inspect.getdoc(described) or "")
    app.command(verb, help="\n\n".join(paragraphs), help_epilogue="\n".join(["Example:", *lines]))


def _unbroken(docstring: str) -> str:
    """With each parameter described in one line, since the breaks of the source would stay in the terminal."""
    does, heading, parameters = docstring.partition("\nParameters\n---")
    lines = [""]
    for line in parameters.split("\n"):
        if line.startswith("    ") and lines[-1].startswith("    "):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return does + heading + "\n".join(lines[1:])


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
