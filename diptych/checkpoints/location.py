"""Where a checkpoint lies: a folder, a file in one, or a hub; and what may have been meant where there is none."""

from __future__ import annotations

import os
import re
from pathlib import Path

from diptych import zoo
from diptych.checkpoints import hub
from diptych.checkpoints.contents import DESCRIBING, DESCRIPTION, SUFFIXES, Contents, find_contents
from diptych.errors import CheckpointError, ConfigError, nearest

_OF_TIMM = re.compile(  # the beginnings of names of its models
    r"(resne|vit_|deit|convnext|efficientnet|regnet|swin|beit|eva02|mobilenet|densenet|maxvit|caformer)[^/]*$"
)
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def find(location: str | Path) -> tuple[Path, Contents]:
    """The folder of a checkpoint, given as that, as a file in it, or as ``hf:org/name[@revision]``, and which of its
    files matter."""
    if not isinstance(location, str | Path) or not str(location):
        given = f"{location!r:.80} was" if location else "no location was"
        raise CheckpointError(f"{given} given; pass a folder, a file or hf:org/name")
    path = hub.fetch(str(location)) if str(location).startswith(hub.PREFIX) else Path(location)
    if path.is_dir():
        try:
            return path, find_contents((entry.name for entry in path.iterdir() if entry.is_file()), str(path))
        except CheckpointError as error:
            inner = sorted({*path.glob(f"*/{DESCRIPTION}"), *path.glob(f"*/*/{DESCRIPTION}")})  # the folder of a run
            if not inner:
                raise
            raise CheckpointError(
                f"{path} holds no weights itself; give {' or '.join(str(file.parent) for file in inner[:4])}"
            ) from error
    if not path.is_file():
        raise CheckpointError(f"there is no file or folder {path}{_instead(path)}")
    names = {entry.name for entry in path.parent.iterdir() if entry.is_file()}  # of pipes and devices none is meant
    whole = find_contents(names, str(path.parent)) if DESCRIBING & names else None
    if whole and whole.weights == path.name:  # the file of a folder that says what it is
        return path.parent, whole
    return path.parent, Contents(path.name, None, (), ())


def _instead(path: Path) -> str:
    """What may have been meant by a path to nothing: a model's name, a repository on the hub, a checkpoint beside."""
    try:
        name = zoo.find(str(path)).name
    except ConfigError:  # most paths are no names of models
        name = None
    if name:
        return (
            f"; {name} is an architecture. Give the file or folder of its weights, or a model on the hub, such as "
            f"hf:openai/clip-vit-base-patch32; diptych.create({name!r}, seed=0) makes random ones"
        )
    if _OF_TIMM.match(str(path)) and path.suffix not in SUFFIXES:
        tag = "" if path.suffix else ".TAG, as hf:timm/resnet50.a1_in1k is"
        return f"; if it is a model of timm, write {hub.PREFIX}timm/{path}{tag}"
    if not path.parent.is_dir():
        on_hub = _REPOSITORY.fullmatch(str(path)) and path.suffix not in SUFFIXES
        return f"; if it is on the hub, write {hub.PREFIX}{path}" if on_hub else ""
    beside = sorted(entry.name for entry in path.parent.iterdir() if _may_hold_weights(entry))
    return f"; {nearest(path.name, beside)}" if beside else ""


def _may_hold_weights(path: Path) -> bool:
    """By a look at names only, since there may be many."""
    if path.suffix in SUFFIXES:
        return os.path.isfile(path)
    return any(os.path.isfile(path / run / name) for run in ("", "model", "run/model") for name in DESCRIBING)
