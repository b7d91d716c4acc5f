"""What several verbs are told of how a source is read."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True)
class Reading:
    """Which samples and captions are taken.

    Parameters
    ----------
    split
        Which part of a folder that has several: train, val, test.
    captions
        Where captions stand: txt, json.captions.en, a column's name. May be repeated.
    where
        Take only samples in which this field, or column, is true: json.base.
    """

    split: str | None = None
    captions: tuple[str, ...] | None = None
    where: str | None = None


PLAIN = Reading()


@Parameter(name="*")
@dataclass(frozen=True)
class TrainingPairs(Reading):
    """Which samples and captions are trained on, and what they are judged by.

    Parameters
    ----------
    split
        Which part of a DATA folder that has several: train, val, test.
    captions
        Where captions stand in DATA and VALIDATION: txt, json.captions.en, a column's name. May be repeated.
    where
        Of DATA and VALIDATION, take only samples in which this field, or column, is true: json.base.
    keywords
        Where words or tags stand that may be added to captions of DATA: json.keywords.en. May be repeated.
    validation_split
        Which part of a VALIDATION folder that has several.
    """

    keywords: tuple[str, ...] | None = None
    validation_split: str | None = None


ALL_PAIRS = TrainingPairs()


@contextmanager
def of_validation() -> Generator[None]:
    """What is said of the split of a source is said of the option by which the split of a validation source is told."""
    from diptych.errors import DataError

    try:
        yield
    except DataError as problem:
        raise type(problem)(str(problem).replace("(--split)", "(--validation-split)")) from problem
