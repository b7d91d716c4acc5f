"""What model a checkpoint holds, from what it says of itself, what its tensors show, and what the caller says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diptych.checkpoints import open_clip
from diptych.checkpoints.architecture import infer
from diptych.checkpoints.contents import Contents
from diptych.checkpoints.files import WeightsFile
from diptych.config import from_dict
from diptych.errors import CheckpointError, ConfigError, nearest
from diptych.specs import Activation, ModelSpec

FORMAT_VERSION = 1


def resolve(
    folder: Path, contents: Contents, file: WeightsFile, *, spec: ModelSpec | None, activation: Activation | None
) -> tuple[ModelSpec, dict[str, Any]]:
    """The spec, and where it came from (provenance).

    In this order: the caller's ``spec``, ``diptych.json``, ``open_clip_config.json``, what Diptych wrote into the file
    of weights itself, the shapes of its tensors. Raises CheckpointError where ``activation`` contradicts the first of
    these, or is needed and missing.
    """
    if activation not in (None, "gelu", "quick_gelu"):
        raise CheckpointError(f"there is no activation {activation!r}; {nearest(activation, ('gelu', 'quick_gelu'))}")
    if spec:
        return _agreed(spec, activation, "spec="), {"architecture_from": "spec=", "activation_from": "spec="}
    if contents.description:
        path = folder / contents.description
        spec, provenance = _described(_json(path), path)
        return _agreed(spec, activation, str(path)), provenance
    if contents.config:
        path = folder / contents.config
        spec = open_clip.to_spec(_json(path), folder.name, str(path))
        provenance = {"architecture_from": contents.config, "activation_from": contents.config}
        return _agreed(spec, activation, str(path)), provenance
    path = folder / contents.weights
    if file.description:
        spec, provenance = _described(_parsed(file.description, path), path)
        return _agreed(spec, activation, str(path)), provenance
    return _inferred(path, file, activation)


def _described(description: Mapping[str, Any], path: Path) -> tuple[ModelSpec, dict[str, Any]]:
    if description.get("format") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format {description.get('format')!r}, this version of Diptych reads {FORMAT_VERSION}"
        )
    provenance = description.get("provenance")
    try:
        spec = from_dict(ModelSpec, description.get("spec"), "spec")
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if not isinstance(provenance, dict):
        raise CheckpointError(f"{path} has no object 'provenance'")
    return spec, provenance


def _inferred(path: Path, file: WeightsFile, activation: Activation | None) -> tuple[ModelSpec, dict[str, Any]]:
    if activation and file.activation and activation != file.activation:
        raise CheckpointError(
            f"activation={activation!r} contradicts {path}, which is {file.activation}: {file.activation_from}. "
            "Leave it out, or pass spec= to insist"
        )
    known = activation or file.activation
    spec = infer(file.flat_shapes(), known or "gelu", name=path.stem, where=str(path))
    if not known:
        raise CheckpointError(
            f"{path} does not tell its activation, and the wrong one gives wrong embeddings without any other sign. "
            "Pass activation='quick_gelu' (OpenAI's weights and those trained from them) or activation='gelu' (most of "
            "OpenCLIP's), or spec="
        )
    return spec, {
        "architecture_from": "shapes of the tensors",
        "activation_from": "activation=" if activation else file.activation_from,
        "assumed": ["heads of width 64", "class token pooled", "CLIP's preprocessing"],
    }


def _agreed(spec: ModelSpec, activation: Activation | None, source: str) -> ModelSpec:
    if activation and activation != spec.text.activation:
        raise CheckpointError(
            f"activation={activation!r} contradicts {source}, which says {spec.text.activation!r}; leave it out, or "
            "pass spec= to insist"
        )
    return spec


def _json(path: Path) -> Mapping[str, Any]:
    try:
        return _parsed(path.read_text(encoding="utf-8"), path)
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error


def _parsed(text: str, path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object")
    return value
