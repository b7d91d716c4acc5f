"""``diptych classify``."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from diptych.errors import ConfigError

if TYPE_CHECKING:
    from diptych.encoder.classifier import Classifier


def classify(
    model: str,
    /,
    *images: Annotated[str, Parameter(required=True)],
    labels: str,
    templates: str | None = None,
    tokenizer: Path | None = None,
    activation: Literal["gelu", "quick_gelu", "gelu_tanh"] | None = None,
    precision: Literal["fp32", "fast"] = "fast",
    json: bool = False,
) -> int:
    """Say what is in images, among labels of your own.

    Example:
        diptych classify my-clip cat.jpg dog.jpg --labels "cat,dog,a bowl of soup"
        diptych classify ViT-B-32.pt cat.jpg --labels "cat,dog" --tokenizer bpe_simple_vocab_16e6.txt.gz

    Parameters
    ----------
    model
        A folder, a .pt or .safetensors file, or hf:org/name[@revision].
    images
        Image files.
    labels
        Labels separated by commas, a file with one a line, or the classifier.npz that diptych finetune leaves.
    templates
        The prompts around a label: a built-in set (name, photo, photo-ensemble ...), or a file with one a line; by
        default photo. A classifier.npz has its own.
    tokenizer
        A file of merges, a tokenizer.json, a vocab.txt or a folder, for a model that brings none.
    activation
        gelu, quick_gelu or gelu_tanh, where the model's file itself cannot say which.
    precision
        fast (bfloat16) or fp32.
    json
        Print one JSON object a line instead of a table.
    """
    from diptych.encoder.classifier import Classifier
    from diptych.encoder.loading import load

    trained = labels.endswith(".npz")
    names = [] if trained else _labels(labels)
    if len(names) < 2 and not trained:
        raise ConfigError(f"--labels needs two labels or more, or a file that exists, not {labels!r:.80}")
    if trained and templates is not None:
        raise ConfigError(
            f"{labels} is a classifier that is made already, from templates of its own; leave --templates out"
        )
    clip = load(model, tokenizer=tokenizer, activation=activation, precision=precision)
    prompts = "photo" if templates is None else templates
    classifier = Classifier.load(labels, clip) if trained else clip.classifier(names, templates=prompts)
    answered = [_answer(classifier, image, json) for image in images]
    return 0 if all(answered) else 1


def _answer(classifier: Classifier, image: str, json: bool) -> bool:
    """Print what is in an image; false where it cannot be read, which does not lose the others."""
    from diptych.cli.output import print_table
    from diptych.errors import DataError

    try:
        prediction = classifier.rank(image)[0]
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return False
    if json:
        print(json_format.dumps({"image": image, "labels": dict(prediction)}, ensure_ascii=False))
    else:
        print(image)
        print_table(["", ""], [[f"{probability:7.1%}", label] for label, probability in list(prediction)[:5]])
    return True


def _labels(text: str) -> list[str]:
    try:
        lines = Path(text).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"the labels in {text} are not UTF-8: {error}") from error
    except OSError:  # no file, and a long list is no name of one
        lines = text.split(",")
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))
