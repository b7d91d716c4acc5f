"""Where the result of an evaluation is kept: in a file whose name tells people what it is of, and ends in a hash of all
that it depends on, so that it is found by whoever would make the very same again."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.data.fingerprint import stamp
from diptych.errors import DataError
from diptych.evaluation.plan import Splits
from diptych.evaluation.result import Result
from diptych.progress import say

if TYPE_CHECKING:
    from diptych.evaluation.runner import Data, Model

UNTOLD = ("model", "run", "")  # last folders of paths, which tell no model from another
FORM = 1  # raised where an evaluation comes to other numbers than it came to before, which are then made again
_BYTES = 40  # of a word in a name, of which file systems take 255
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Known:
    """A model as names of files have it: a short name, and what it is, by what its files hold."""

    name: str
    state: dict[str, Any]

    @classmethod
    def of(cls, model: Model) -> Known:
        """Reads all of its files."""
        held = {"location": _contents(model.location), "tokenizer": _contents(model.tokenizer)}
        return cls(_short_name(model.location), asdict(model) | held)


def file_of(model: Known, data: Data, splits: Splits, task: str, options: dict[str, Any]) -> str:
    """The name of the file, of at most 240 bytes.

    Models, tokenizers, templates and class names count by what their files hold, data by their stamp; where they lie
    has no part in it.
    """
    sources = _stamps(splits)
    asked = {name: _contents(value) for name, value in options.items()}
    known = [FORM, model.state, _told(data, sources), sources, task, asked]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    words = [model.name, splits.title, splits.name, data.language, task, digest[:8]]
    return "__".join(filter(None, map(_word, words))) + ".json"


def read(file: Path) -> Result | None:
    """The result that is kept there; None where there is none, or what there is is damaged, which is said."""
    if not file.exists():
        return None
    try:
        result = Result.load(file)
    except DataError as problem:
        say(f"{problem}; it is made again")
        return None
    there = [result.predictions]
    there += [result.text_predictions] if result.task == "zeroshot_retrieval" else []
    there += [result.source_predictions] if "shift" in result.details else []
    if not all(there):
        say(f"{file} has lost predictions; it is made again")
        return None
    return result


def _stamps(splits: Splits) -> dict[str, Any]:
    found: dict[str, Any] = {
        part: stamp(source) for part in ("test", "train", "validation") if (source := getattr(splits, part))
    }
    return found | ({"shifted_from": _stamps(splits.shifted_from)} if splits.shifted_from else {})


def _told(data: Data, sources: dict[str, Any]) -> dict[str, Any]:
    """How data are asked for, but for the place of those, and of what they are shifted from, that stamps know."""
    if all(sources.values()):
        data = replace(data, location="", row=data.row and replace(data.row, location=""))
    shifted_from = data.shifted_from and _told(data.shifted_from, sources["shifted_from"])
    return asdict(data) | {"shifted_from": shifted_from}


def _contents(value: Any) -> str:
    """A value as it counts: of a file what it holds, of a folder what its files hold but for those that describe it."""
    if not isinstance(value, str | Path) or not os.path.exists(value):  # which takes names that no file can have
        return repr(value)
    path, digest = Path(value), hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file() and file.suffix != ".md":
            digest.update(f"{'' if file == path else file.name}\0".encode("utf-8", "surrogatepass"))
            with open(file, "rb") as opened:
                while block := opened.read(_BLOCK):
                    digest.update(block)
    return digest.hexdigest()


def _short_name(location: str) -> str:
    """What tells a model's place from others: ``runs/mine/run/model`` is ``mine``."""
    path = Path(location)
    parts = path.resolve().parts if path.exists() else path.parts
    return next((part for part in reversed(parts) if part not in UNTOLD), location)


def _word(text: str) -> str:
    plain = re.sub(r"[^\w.-]+", "-", text).strip("-.")
    return plain.encode("utf-8", "replace")[:_BYTES].decode("utf-8", "ignore")
