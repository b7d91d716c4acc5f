"""What model a checkpoint holds, from what it says of itself, what its tensors show, and what the caller says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from diptych.checkpoints import huggingface, open_clip
from diptych.checkpoints.boundary import described_by
from diptych.checkpoints.contents import CONFIG, HUGGINGFACE_CONFIG, Contents
from diptych.checkpoints.files import WeightsFile
from diptych.checkpoints.formats import Format, recognised
from diptych.checkpoints.json_files import parsed, read_json, read_preprocessor
from diptych.config import from_dict, to_dict
from diptych.errors import CheckpointError, UnknownActivation, nearest
from diptych.specs import BertSpec, ModelSpec
from diptych.tower_specs import Activation

FORMAT_VERSION = 1
_TOLD_BY_SHAPES = frozenset(
    {"embedding", "scores", "image.image_size", "image.patch_size", "image.stem_width", "text.context_length"}
    | {"text.positions", "text.vocabulary_size"}
    | {f"{tower}.{size}" for tower in ("image", "text") for size in ("kind", "width", "layers", "mlp_ratio")}
)

Known = tuple[ModelSpec, dict[str, Any]]


class Resolved(NamedTuple):
    """What a checkpoint is: the spec, where it came from (provenance), whose names the tensors have, and how to call
    the model where weights turn out not to be its."""

    spec: ModelSpec
    provenance: dict[str, Any]
    format: Format
    model: str = "this model"


def resolve(
    folder: Path, contents: Contents, file: WeightsFile, *, spec: ModelSpec | None, activation: Activation | None
) -> Resolved:
    """What a checkpoint is, by the first of these that says it.

    In this order: the caller's ``spec``, ``diptych.json``, the config of whoever named the tensors, what Diptych wrote
    into the file of weights itself, the shapes of its tensors. Raises CheckpointError where ``activation``, or what
    the file of weights shows of it, contradicts the first of these, or is needed and missing.
    """
    if activation is not None and activation not in get_args(Activation):
        raise CheckpointError(f"there is no activation {activation!r}; {nearest(activation, get_args(Activation))}")
    path = folder / contents.weights
    format = recognised(file.shapes(), str(path))
    known, source = _told(folder, contents, file, format, spec)
    if not known:
        return Resolved(*_inferred(path, file, format, activation), format)
    _check_activation(known[0], activation, f"the activation {activation!r} contradicts", source)
    if spec is None:  # the caller's own has the last word
        told = f"{path} is {file.activation} ({file.activation_from}), which contradicts"
        _check_activation(known[0], file.activation, told, source)
    return Resolved(*known, format, f"the model that {source} describes{_differing(known[0], file, format)}")


def _told(
    folder: Path, contents: Contents, file: WeightsFile, format: Format, spec: ModelSpec | None
) -> tuple[Known | None, str]:
    if spec:
        return (spec, {"architecture_from": "spec=", "activation_from": "spec="}), "spec="
    noted = _described(parsed(file.description, path := folder / contents.weights), path) if file.description else None
    if contents.description:
        path = folder / contents.description
        known = _described(read_json(path), path)
        if noted:
            _check_note(known[0], noted[0], path, contents.weights)
        return known, str(path)
    name = HUGGINGFACE_CONFIG if format.name == "huggingface" else CONFIG
    if name in contents.configs:
        path = folder / name
        provenance = {"architecture_from": name, "activation_from": name}
        return (_configured(path, format, contents), provenance), str(path)
    return noted, str(folder / contents.weights)


def _configured(path: Path, format: Format, contents: Contents) -> ModelSpec:
    if format.name != "huggingface":
        return open_clip.to_spec(read_json(path), path.parent.name, str(path))
    preprocessor = read_preprocessor(path.parent, contents)
    return huggingface.to_spec(read_json(path), preprocessor, path.parent.name, str(path))


def _described(description: Mapping[str, Any], path: Path) -> tuple[ModelSpec, dict[str, Any]]:
    if description.get("format") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format {description.get('format')!r:.80}, this version of Diptych reads {FORMAT_VERSION}"
        )
    provenance = description.get("provenance")
    with described_by(str(path)):
        spec = from_dict(ModelSpec, description.get("spec"), "spec")
    if not isinstance(provenance, dict):
        raise CheckpointError(f"{path} has no object 'provenance'")
    return spec, provenance


def _check_note(spec: ModelSpec, noted: ModelSpec, path: Path, weights: str) -> None:
    """Both are by one writer: where they differ, one was changed afterwards, and nobody can tell which is true."""
    ours, theirs = (dict(_leaves(to_dict(dataclasses.replace(each, name="")))) for each in (spec, noted))
    if wrong := [key for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key)]:
        told = f"{wrong[0]} is {ours.get(wrong[0])!r:.80} in one and {theirs.get(wrong[0])!r:.80} in the other"
        raise CheckpointError(f"{path} contradicts what {weights} says of itself: {told}; restore the file")


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        yield from _leaves(item, f"{prefix}{key}.") if isinstance(item, Mapping) else [(f"{prefix}{key}", item)]


def _inferred(path: Path, file: WeightsFile, format: Format, activation: Activation | None) -> Known:
    if format.infer is None:
        raise CheckpointError(
            f"{path} holds the tensors of {format.name} without its config beside it; pass the folder"
        )
    if activation and file.activation and activation != file.activation:
        raise CheckpointError(
            f"the activation {activation!r} contradicts {path}, which is {file.activation}: {file.activation_from}. "
            "Leave activation= (--activation) out"
        )
    known = activation or file.activation or format.activation
    spec = format.infer(file.shapes(), known or "gelu", name=path.stem, where=str(path))
    if not known:
        raise UnknownActivation(
            f"{path} does not tell its activation, and the wrong one gives wrong embeddings without any other sign. "
            "Pass activation= (--activation): quick_gelu for OpenAI's weights and those trained from them, gelu for "
            f"most of OpenCLIP's; diptych inspect {path} --pairs SOURCE finds it out"
        )
    family = f"all models of {format.name} have it"
    return spec, {
        "architecture_from": "shapes of the tensors",
        "activation_from": "activation= (--activation)" if activation else file.activation_from or family,
        "assumed": list(format.assumed),
    }


def _check_activation(spec: ModelSpec, activation: Activation | None, contradicts: str, source: str) -> None:
    towers = [tower for tower in (spec.image, spec.text) if not isinstance(tower, BertSpec)]  # BERT has its own
    has = {name for tower in towers if (name := getattr(tower, "activation", None))}
    if activation and has - {activation}:
        advice = "; leave activation= (--activation) out" if contradicts.startswith("the activation") else ""
        raise CheckpointError(f"{contradicts} {source}, which says {' and '.join(sorted(has))}{advice}")


def _differing(spec: ModelSpec, file: WeightsFile, format: Format) -> str:
    """What a description and the shapes of tensors disagree about, in words; nothing where shapes do not tell."""
    if format.infer is None:
        return ""
    try:
        shown = _sizes(format.infer(file.shapes(), "gelu", name=spec.name, where=""))
    except CheckpointError:
        return ""
    said = _sizes(spec)
    differing = [key for key in said if key in shown and said[key] != shown[key]]
    return "".join(f", {key} being {said[key]} by that and {shown[key]} by the weights" for key in differing)


def _sizes(spec: ModelSpec) -> dict[str, Any]:
    """The leaves of a spec that shapes of tensors tell."""
    leaves = dict(_leaves(to_dict(spec)))
    for tower in ("image", "text"):
        if f"{tower}.mlp_ratio" in leaves:  # as what it comes to, since quotients are rounded
            leaves[f"{tower}.mlp_ratio"] = int(leaves[f"{tower}.width"] * leaves[f"{tower}.mlp_ratio"])
    return {key.replace("mlp_ratio", "mlp width"): value for key, value in leaves.items() if key in _TOLD_BY_SHAPES}
