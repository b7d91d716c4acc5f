"""Where the weights of a run begin: drawn at random, or taken from another model, whole or a tower of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from diptych import config, distributed
from diptych.checkpoints.bundle import Bundle, fingerprint, read
from diptych.errors import CheckpointError, ConfigError
from diptych.specs import ModelSpec
from diptych.text.pretrained import AnyTokenizer
from diptych.tower_specs import Activation
from diptych.training.trained import Model, created

# What may differ between the model that is begun from and the recipe's: the resolution and the context length, to which
# position embeddings are resized, the crop that goes with the resolution, and what the tokenizer decides.
_FREE = ("image.image_size", "text.context_length", "preprocess.size", "preprocess.resize_to")
_FREE += ("text.vocabulary_size", "text.padding_id")


@dataclass(frozen=True, kw_only=True)
class StartSpec:
    """Which weights a run begins from.

    weights:    a model as ``diptych.load`` takes it: a folder, a file, ``hf:org/name``; null draws all weights at
                random, and an empty one is still to be told.
    towers:     which of its towers are taken; the other one is drawn at random, and so is the temperature unless both
                are taken.
    activation: ``gelu`` or ``quick_gelu``, for weights that do not say.
    """

    weights: str | None = None
    towers: Literal["both", "image", "text"] = "both"
    activation: Activation | None = None

    def takes(self, tower: Literal["image", "text"]) -> bool:
        """Whether that tower begins from ``weights``."""
        return self.weights is not None and self.towers in ("both", tower)


@dataclass(frozen=True)
class Beginning:
    """A model before its first step, its tokenizer, and where its weights came from, JSON-able."""

    model: Model
    tokenizer: AnyTokenizer
    provenance: dict[str, Any]


def begin(
    wanted: ModelSpec,
    start: StartSpec,
    *,
    vocabulary: int | str,
    tokenizer: Callable[[], AnyTokenizer],
    seed: int,
) -> Beginning:
    """The model ``wanted``, with the towers that ``start`` takes from elsewhere and the others as ``seed`` draws them.

    ``tokenizer`` makes the one of a text tower that is drawn. A text tower that is taken brings its own, with which
    ``vocabulary``, as the recipe has it, must agree: the number of its entries, or a path to the same one; where it
    brings none, a path to it. Raises ConfigError that names the first difference between the model and ``wanted``,
    CheckpointError where it cannot be read.
    """
    if start.weights is None:
        learned = tokenizer()
        return Beginning(created(_over(wanted, learned), seed), learned, {})
    bundle = _in_turn(lambda: read_start(wanted, start, vocabulary))
    if start.takes("text"):
        learned = its_tokenizer(bundle, start, vocabulary)
        spec = dataclasses.replace(wanted, text=bundle.spec.text, tokenizer=bundle.spec.tokenizer)
    else:
        learned = tokenizer()
        spec = _over(wanted, learned)
    prefix = "" if start.towers == "both" else f"{start.towers}."
    taken = {name: tensor for name, tensor in bundle.weights.items() if name.startswith(prefix)}
    model = created(spec, seed)
    model.load_state_dict(taken, strict=False)  # the names are known to agree, since the specs do
    which = "both towers" if start.towers == "both" else f"the {start.towers} tower"
    origin = {
        "name": f"{which} of {start.weights}",
        "weights": start.weights,
        "towers": start.towers,
        "fingerprint": fingerprint(taken),
        "provenance": bundle.provenance,
    }
    return Beginning(model, learned, {"started_from": origin})


def _over(spec: ModelSpec, tokenizer: AnyTokenizer) -> ModelSpec:
    return spec.with_vocabulary(tokenizer.vocabulary_size, tokenizer=tokenizer.family, padding_id=tokenizer.pad_id)


def _in_turn(read: Callable[[], Bundle]) -> Bundle:
    """The main process first, so that what has to be fetched is fetched once."""
    held: list[Bundle] = []
    distributed.agreed(lambda: held.append(read()))
    return held[0] if held else read()


def read_start(wanted: ModelSpec, start: StartSpec, vocabulary: int | str) -> Bundle:
    """The model that is begun from, as ``wanted`` has its sizes; raises as `begin` does."""
    if not start.weights:
        raise ConfigError(
            "start.weights is empty, but this recipe begins from weights: --set start.weights=MODEL, a folder, a file "
            "or hf:org/name"
        )
    as_it_is = partial(read, start.weights, activation=start.activation)
    as_wanted = partial(
        as_it_is,
        image_size=wanted.image.image_size if start.takes("image") else None,
        context_length=wanted.text.context_length if start.takes("text") else None,
    )
    try:
        _check_agreement(wanted, as_it_is().spec, start)  # before anything of another model is resized
        bundle = as_wanted()
        if isinstance(vocabulary, int) or not start.takes("text"):
            return bundle
        given = as_wanted(tokenizer=vocabulary)
    except CheckpointError as problem:
        raise CheckpointError(f"start.weights: {_in_the_recipes_terms(str(problem))}") from problem
    if bundle.tokenizer not in (None, given.tokenizer):
        raise ConfigError(
            f"{start.weights} brings a tokenizer, and vocabulary={vocabulary} is another one; "
            f"--set vocabulary={bundle.spec.text.vocabulary_size} takes its own"
        )
    return given


def _in_the_recipes_terms(problem: str) -> str:
    """What to pass is named as ``diptych.load`` and the other verbs have it."""
    for theirs, ours in (
        ("activation= (--activation)", "start.activation"),
        ("tokenizer= (--tokenizer)", "vocabulary"),
    ):
        problem = problem.replace(f"Pass {theirs}", f"Set {ours}").replace(theirs, ours)
    return problem


def its_tokenizer(bundle: Bundle, start: StartSpec, vocabulary: int | str) -> AnyTokenizer:
    """The tokenizer of a text tower that is taken; raises as `begin` does."""
    if bundle.tokenizer is None:
        raise ConfigError(
            f"{start.weights} brings no tokenizer for its text tower; name the one it was trained with: "
            "--set vocabulary=PATH, merges or a folder"
        )
    entries = bundle.spec.text.vocabulary_size
    if isinstance(vocabulary, int) and vocabulary != entries:
        raise ConfigError(
            f"vocabulary is {vocabulary:,}, but the text tower of {start.weights} comes with {entries:,} entries, and "
            f"nothing is learned anew; --set vocabulary={entries}"
        )
    return bundle.tokenizer


def _check_agreement(wanted: ModelSpec, found: ModelSpec, start: StartSpec) -> None:
    """ConfigError that names the first value in which the two models differ, of what is taken."""
    parts = ["embedding"]
    parts += ["image", "preprocess"] if start.takes("image") else []
    parts += ["text"] if start.takes("text") else []
    parts += ["scores"] if start.towers == "both" else []
    ours, theirs = (_flat({part: config.to_dict(getattr(spec, part)) for part in parts}) for spec in (wanted, found))
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        if name not in _FREE and ours.get(name) != theirs.get(name):
            raise ConfigError(
                f"{start.weights} has {name} {theirs.get(name)!r}, the recipe model.{name} {ours.get(name)!r}; begin "
                "from weights of the recipe's model, or change the recipe"
            )


def _flat(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{path}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat
