"""What ``diptych inspect`` prints: a heading and a few lines for each part of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Rows = dict[str, str]

_SCORES = {
    "softmax": "whose similarities compete (softmax)",
    "sigmoid": "each similarity of which answers for itself (sigmoid)",
}


def sections(facts: Mapping[str, Any]) -> dict[str, Rows]:
    """The facts of ``describe``, as rows under headings. What is long and seldom asked for is left to --json."""
    image, text = facts["image"], facts["text"]
    return {
        facts["name"]: {
            "embeddings": f"{facts['embedding']:,} numbers, {_SCORES[facts['scores']]}",
            "parameters": f"{facts['parameters']['total']:,}",
            "runs in": f"{facts['runs']['precision']}; here on {facts['runs']['device']}",
            "licence": _plain(facts["licence"]),
            **({"missing": "; ".join(facts["missing"])} if facts["missing"] else {}),
        },
        f"image tower, {image['kind']}": {
            "takes": _pixels(facts["preprocess"]),
            "normalised": "mean {}; std {}".format(*(_plain(facts["preprocess"][key]) for key in ("mean", "std"))),
            **_tower(image, facts, "image", told=("image_size",)),
        },
        f"text tower, {text['kind']}": {
            "takes": f"up to {text['context_length']} tokens of a vocabulary of {text['vocabulary_size']:,}",
            "tokenizer": f"{facts['tokenizer']}: {facts['vocabulary']}",
            **_tower(text, facts, "text", told=("context_length", "vocabulary_size")),
        },
        "known from": _origins(facts["provenance"]),
        "converts to": {
            format: problem if problem == "yes" else f"no: {problem}"
            for format, problem in facts["converts_to"].items()
        },
    }


def _pixels(preprocess: Mapping[str, Any]) -> str:
    size, resized = preprocess["size"], preprocess["resize_to"] or preprocess["size"]
    if preprocess["resize"] == "squash":
        how = f"both sides resized to {resized}"
    else:
        how = f"the short side resized to {resized}"
    cut = ", the centre cut out" if preprocess["resize"] != "squash" or resized != size else ""
    return f"{size} x {size} pixels: {how} ({preprocess['interpolation']}){cut}"


def _tower(spec: Mapping[str, Any], facts: Mapping[str, Any], tower: str, *, told: tuple[str, ...]) -> Rows:
    left = {name: value for name, value in spec.items() if name not in ("kind", "activation", *told)}
    left = {name: value for name, value in left.items() if value is not None}
    sizes = {name: value for name, value in left.items() if isinstance(value, int | list) and type(value) is not bool}
    others = {name: value for name, value in left.items() if name not in sizes}
    counted = facts["gigaflops"]
    operations = f"{counted[tower]:g} gigaflops for each {tower}" if counted else "operations not counted"
    rows = {
        "size": _plain(sizes),
        "activation": spec.get("activation", ""),
        "details": _plain(others),
        "costs": f"{facts['parameters'][tower]:,} parameters, {operations}",
    }
    return {name: row for name, row in rows.items() if row}


def _origins(provenance: Mapping[str, Any]) -> Rows:
    rows = {
        "weights": _plain(provenance.get("weights_from", "not said")),
        "format": _plain(provenance.get("weights_format", "not said")),
        "architecture": _plain(provenance.get("architecture_from", "what Diptych wrote with the weights")),
    }
    for name, value in provenance.items():
        if name in ("weights_from", "weights_format", "architecture_from", "licence"):
            continue
        if name in ("image_size_from", "context_length_from"):
            value = f"resampled from {value}"
        elif name == "hashes" and isinstance(value, Mapping):
            value = {part: str(digest)[:12] for part, digest in value.items()}
        elif isinstance(value, Mapping):
            value = f"{value.get('name', 'whole')}: see --json"
        rows[name.removesuffix("_from").replace("_", " ")] = _plain(value)
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_nested(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_nested, value))
    if isinstance(value, bool):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)


def _nested(value: Any) -> str:
    return f"({_plain(value)})" if isinstance(value, Mapping | list | tuple) else _plain(value)
