"""Writing a bundle as a folder, in the format of the tool that is to read it.

Diptych's own is a folder that OpenCLIP's ``local-dir:`` loader opens as it stands, with ``diptych.json`` beside.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from diptych.checkpoints import huggingface, open_clip, openai_writing
from diptych.checkpoints.bundle import Bundle, fingerprint, padded_alike
from diptych.checkpoints.contents import CONFIG, DESCRIPTION, HUGGINGFACE_CONFIG, PREPROCESSOR, WEIGHTS
from diptych.checkpoints.folder import replaced
from diptych.checkpoints.formats import DIPTYCH, HUGGINGFACE, OPEN_CLIP, OPENAI, Format
from diptych.checkpoints.json_files import read_json
from diptych.checkpoints.places import Place
from diptych.checkpoints.resolve import FORMAT_VERSION
from diptych.config import to_dict
from diptych.errors import CheckpointError, nearest

FormatName = Literal["diptych", "open_clip", "huggingface", "openai"]


@dataclass(frozen=True)
class _Plan:
    """What is to be written: the name of the file of weights, the names in it, and the files beside."""

    weights: str
    names: Format
    files: dict[str, bytes]
    described: bool = False


def write(
    bundle: Bundle,
    folder: str | Path,
    *,
    format: FormatName = "diptych",
    check: Callable[[Path], None] | None = None,
    card: str | None = None,
) -> Path:
    """Write a bundle as a folder, which appears as a whole or not at all and is on the disk when this returns.

    ``open_clip`` is for its ``local-dir:``, ``huggingface`` for Transformers' ``from_pretrained``, ``openai`` a
    ``model.pt`` for its ``clip.load`` (without ``jit=True``); each raises CheckpointError that says what of the model
    it cannot express. ``diptych`` expresses every model, and is OpenCLIP's where that can. An older bundle of the same
    name is replaced, unless its ``diptych.json`` would be lost; a folder with anything else in it is refused. ``check``
    sees the new folder before it takes its place; what it raises leaves everything as it was. ``card``: a README.md to
    lie beside the rest.
    """
    if format not in get_args(FormatName):
        raise CheckpointError(f"there is no format {format!r}; {nearest(format, get_args(FormatName))}")
    bundle = padded_alike(bundle)
    plan, places = _expressed(bundle, format)
    if not plan.described and (Path(folder) / DESCRIPTION).exists():
        raise CheckpointError(
            f"{folder} holds a model with its {DESCRIPTION}, which would be lost; give another folder"
        )
    if odd := sorted(bundle.weights.keys() ^ places.keys()):
        raise CheckpointError(f"the weights are not those of {bundle.spec.name}: {', '.join(odd[:4])}")
    files, metadata = dict(plan.files), {"format": "pt"}
    if card is not None:
        files["README.md"] = card.encode("utf-8", "backslashreplace")
    if plan.described:
        description = _description(bundle, [plan.weights, *files])
        files[DESCRIPTION] = _json(description)
        metadata["diptych"] = json.dumps(description)  # so the file can be read where it lies alone
    with replaced(Path(folder), {plan.weights, *files} | _files_of_old(Path(folder))) as new:
        tensors: dict[str, Tensor] = {}
        for name, tensor in bundle.weights.items():
            tensors |= places[name].split(tensor.detach().cpu())
        tensors = _untied(tensors)
        _save(tensors, new / plan.weights, metadata, folder)
        for name, content in files.items():
            (new / name).write_bytes(content)
        if check:
            check(new)
    return Path(folder)


def _plan(bundle: Bundle, format: FormatName) -> _Plan:
    tokenizer = bundle.tokenizer
    beside = tokenizer.files() if tokenizer else {}
    if format == "huggingface":
        ids = (tokenizer.start_id, tokenizer.end_id) if tokenizer else (None, None)
        config, preprocessor = huggingface.from_spec(bundle.spec, start_id=ids[0], end_id=ids[1])
        configs = {HUGGINGFACE_CONFIG: _json(config), PREPROCESSOR: _json(preprocessor)}
        return _Plan("model.safetensors", HUGGINGFACE, beside | configs)
    if format == "openai":
        openai_writing.refuse(bundle.spec, tokenizer)
        return _Plan("model.pt", OPENAI, {})
    try:
        config = open_clip.from_spec(bundle.spec, own_tokenizer=tokenizer is not None)
        return _Plan(WEIGHTS, OPEN_CLIP, beside | {CONFIG: _json(config)}, described=True)
    except CheckpointError:
        if format == "open_clip":
            raise
        return _Plan("model.safetensors", DIPTYCH, beside, described=True)


def _expressed(bundle: Bundle, format: FormatName) -> tuple[_Plan, dict[str, Place]]:
    """The plan, and where each tensor goes in its file; CheckpointError where the format has no words for something."""
    try:
        plan = _plan(bundle, format)
        return plan, plan.names.places(bundle.spec)
    except CheckpointError as error:
        raise CheckpointError(f"{error}. Write it in the format diptych") from error


def inexpressible(bundle: Bundle) -> dict[str, str]:
    """Of each format that is not our own, what of the model it cannot express; empty where it can all."""
    problems = {}
    for format in get_args(FormatName):
        if format != "diptych":
            try:
                _expressed(bundle, format)
                problems[format] = ""
            except CheckpointError as error:
                problems[format] = str(error)
    return problems


def _untied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that are one in the source, each on its own: no file of weights says that two are the same."""
    seen: set[int] = set()
    own: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        own[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return own


def _save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str], folder: str | Path) -> None:
    try:
        if path.suffix == ".pt":
            openai_writing.save_archive(tensors, path)
        else:
            path.touch()
            mode = (
                path.stat().st_mode
            )  # what the user's umask makes of a new file; save_file makes one for its owner only
            save_file(tensors, path, metadata=metadata)
            path.chmod(mode)
    except (SafetensorError, RuntimeError) as error:  # a full disk
        raise CheckpointError(f"{folder} cannot be written: {error}") from error


def _description(bundle: Bundle, files: list[str]) -> dict[str, Any]:
    read_as = {name: t.float() if t.is_floating_point() else t for name, t in bundle.weights.items()}
    hashes = {"weights": fingerprint(read_as)}
    hashes |= {"tokenizer": bundle.tokenizer.fingerprint} if bundle.tokenizer else {}
    return {
        "format": FORMAT_VERSION,
        "spec": to_dict(bundle.spec),
        "provenance": bundle.provenance | {"hashes": hashes},
        "files": sorted(files),
    }


def _files_of_old(folder: Path) -> set[str]:
    """The files of the bundle that is to be replaced, by its own account."""
    try:
        return set(read_json(folder / DESCRIPTION)["files"]) | {DESCRIPTION}
    except (CheckpointError, KeyError, TypeError):
        return set()


def _json(value: Any) -> bytes:
    # Halves of surrogate pairs, which file names that are not UTF-8 become, are written as JSON's own escapes.
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
