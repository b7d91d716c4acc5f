"""What results were told besides: which options change what is measured, and how they are said."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from diptych.evaluation.result import Result
from diptych.printable import printable

# What a task measures besides, and its own metric stays what it is without.
BESIDES = {"zeroshot_classification": ("ablate_prompts", "none_of_these", "shifted_from", "mapping")}
READ = ("captions", "where")  # which fields and rows of the data: what these give is in the fingerprint of the data


def option(name: str, value: object) -> str:
    """As in ``templates=photo``; of a switch its name."""
    if isinstance(value, (list, tuple)):
        value = "+".join(map(str, value))
    return printable(name if value is True else f"{name}={value}", lines=False)


def options(told: Mapping[str, Any]) -> str:
    """All that are not off."""
    return ", ".join(option(name, value) for name, value in told.items() if value)


def measuring(result: Result) -> dict[str, Any]:
    """Those by which other things are measured, but for what was read."""
    besides = (*BESIDES.get(result.task, ()), *READ)
    return {name: value for name, value in result.options.items() if name not in besides}


def read(result: Result) -> dict[str, Any]:
    """What was read of the data, where that was said."""
    return {name: result.options[name] for name in READ if result.options.get(name)}


def read_alike(results: Sequence[Result]) -> dict[str, bool]:
    """Of each data set whether all read the same of it, up to the language in it, so that it need not be named."""
    known: dict[str, set[str]] = {}
    for result in results:
        plain = re.sub(rf"(?<![a-zA-Z]){re.escape(result.language)}(?![a-zA-Z])", "{language}", options(read(result)))
        known.setdefault(result.dataset, set()).add(plain)
    return {data: len(own) == 1 for data, own in known.items()}
