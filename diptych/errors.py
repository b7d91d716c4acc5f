"""Every error a user of Diptych can meet, as one tree.

DiptychError
├── ConfigError        a name or value in a spec, a recipe or on the command line
├── CheckpointError    a file of weights that is wrong, incomplete, ambiguous or unsafe
│   └── UnknownActivation   weights that do not tell which activation they were trained with
├── TokenizerError     a vocabulary that is missing or malformed
├── DataError          a source, shard, image or caption
│   ├── UnknownClass      a label that is none of the classes
│   ├── ShardLost         a remote shard that cannot be had, with all its samples
│   └── TooManyFailures   more samples failed than the recipe allows
├── TrainingError      a run that cannot start or go on
│   └── NonFiniteLoss     the loss, or the weights, became NaN or infinite
└── MissingExtra       an optional dependency that is not installed
"""

import difflib
import errno
from collections.abc import Iterable


class Caution(UserWarning):
    """A warning of what readers of a number must know, too; results keep it among their remarks."""


class DiptychError(Exception):
    """Base of every error that Diptych raises on purpose."""


class ConfigError(DiptychError, ValueError):
    """A name or a value that Diptych does not know, with the nearest one it does."""


class CheckpointError(DiptychError):
    """A checkpoint that is wrong, incomplete, ambiguous or unsafe to read."""


class UnknownActivation(CheckpointError):
    """Weights that do not tell which activation they were trained with."""


class TokenizerError(DiptychError):
    """A vocabulary that is missing or malformed."""


class DataError(DiptychError):
    """A source, shard, image or caption that cannot be used."""


class UnknownClass(DataError):
    """A label that is none of the classes there are: those of other samples may be wrong too."""

    @classmethod
    def of(cls, what: str, label: int, classes: int) -> "UnknownClass":
        """``what``: what says that the label is this."""
        hint = "; are they numbered from 1?" if label == classes else ""
        return cls(f"{what} {label}, but there are {classes} classes, from 0 on{hint}")


class ShardLost(DataError):
    """A remote shard that cannot be had: none of its samples can."""


class TooManyFailures(DataError):
    """More samples failed to read than the settable share allows."""


class TrainingError(DiptychError):
    """A training run that cannot start or cannot go on."""


class NonFiniteLoss(TrainingError):
    """The loss, or the weights with it, became NaN or infinite."""


class ProcessLost(DiptychError, RuntimeError):
    """Another of the processes that work together ended, or does not answer."""


class MissingExtra(DiptychError, ImportError):
    """An optional dependency that is not installed; the message names the extra to install."""


def lacks_memory(error: BaseException) -> bool:
    """Whether this is one of the ways in which Python, the system and PyTorch's devices say that memory is short."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, without importing it
        or "can't allocate memory" in str(error)
    )


_LONGEST = 200  # letters of a name: comparing takes their number squared
_LISTED = 30  # choices that a message can hold and still be read


def nearest(name: str, choices: Iterable[str]) -> str:
    """End of an error message: the closest valid choice where there is one, and all of them where they are few.

    >>> nearest("widht", ["width", "depth"])
    "did you mean 'width'? valid: width, depth"
    """
    choices = list(choices)
    close = closest(name, choices)
    told = [f"did you mean {close!r}?"] if close is not None else []
    if len(choices) <= _LISTED:
        told.append(f"valid: {', '.join(choices) or 'none'}")
    elif close is None:
        told.append(f"valid: {', '.join(choices[:_LISTED])} and {len(choices) - _LISTED} more")
    return " ".join(told)


def closest(name: str, choices: Iterable[str]) -> str | None:
    """The valid choice that is most like a name; None where none is like it."""
    return next(iter(difflib.get_close_matches(name[:_LONGEST], list(choices), n=1)), None)
