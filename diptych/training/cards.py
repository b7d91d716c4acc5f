"""What a run says of its model to those who meet it: a model card, in Markdown.

It is made of what lies in the run's folder, so it can be made again at any time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych import config
from diptych.specs import ModelSpec
from diptych.training.accounting import read_accounting
from diptych.training.data_card import DATA_CARD, plain, source_facts, table
from diptych.training.outline import parameters_of
from diptych.training.units import operations
from diptych.training.watch import read_metrics

MODEL_CARD = "README.md"  # in model/, where hubs look for it

Intervals = Mapping[str, tuple[float, float]]

_LIMITS = """\
For research, and for trying out what it was evaluated for. Before any other use, test it on that task, with the classes
and the images of that task: what models of this kind do depends on both, and a good score elsewhere says little.

- It always names one of the labels that it is given, however wrong all of them are. So the labels decide what it says,
  of people too: CLIP has put people of some groups into classes of crime or of animals more often than others (Radford
  et al. 2021, section 7). Do not let it judge people; do not use it for surveillance or to recognise faces.
- Models of this kind are weak at counting, at fine distinctions, and at what their training images did not show.
- It knows the languages of its captions, and their prejudices.
- Its similarities put answers in an order. They are no probabilities of being right.
"""


def model_card(folder: Path, spec: ModelSpec, intervals: Intervals | None = None) -> str:
    """The model card of the run in ``folder``, whose model is ``spec``. ``intervals``: of 95 %, by the names that
    evaluations have in ``metrics.jsonl``."""
    recipe = _recipe_of(folder)
    sections = {
        "Training": _training(recipe),
        "What it cost": _cost(folder, recipe.get("head")),
        "Evaluation": _evaluation(folder, intervals or {}),
    }
    return _card(spec, recipe, _about(recipe), sections)


def mixed_card(folder: Path, spec: ModelSpec, alpha: float, measured: Mapping[str, Any]) -> str:
    """The model card of the mixture at ``alpha`` of the fine-tuned model of the run in ``folder`` with the model that
    it began from. ``measured``: by task, ``acc1`` and its ``interval``."""
    recipe = _recipe_of(folder)
    name, before = f"`{recipe['name']}`", _begun_from(recipe)
    about = (
        f"A CLIP model, weight by weight a mixture of two (WiSE-FT, arXiv 2109.01903): {1 - alpha:.4g} of the model "
        f"before and {alpha:g} of the one that the recipe {name} of Diptych made of it, a classifier of "
        f"{len(recipe['head']['classes']):,} classes."
    )
    mixture = {
        "alpha": f"{alpha:g}, from 0, the model before, to 1, the fine-tuned one",
        "the model before": before,
        "the fine-tuned model": "`../../model`, of the same run",
    }
    rows = {f"{task}/acc1": (at["acc1"], at["interval"]) for task, at in measured.items()}
    sections = {
        "The mixture": "\n".join(table(mixture)),
        "Training of the fine-tuned model": _training(recipe),
        "What that cost": _cost(folder, recipe["head"]),
        "Evaluation": "\n".join(_measured(rows)) if rows else "None of this mixture.",
    }
    return _card(spec, recipe, about, sections)


def _recipe_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "recipe.json").read_text(encoding="utf-8"))


def _card(spec: ModelSpec, recipe: Mapping[str, Any], about: str, own: Mapping[str, str]) -> str:
    """``own``: the sections that say how it came about and how good it is, by heading."""
    sections = {
        "The model": _model(spec),
        "Training data": _sources(recipe["data"], recipe.get("head")),
        **own,
        "Intended use and limits": _LIMITS,
        "Use": _use(spec, recipe.get("head")),
    }
    head = {
        "library_name": "diptych",
        "pipeline_tag": "zero-shot-image-classification",
        "license": "unknown",
        "tags": "[clip, diptych, contrastive-learning, image-text-retrieval]",
    }
    front = "\n".join(["---", *(f"{name}: {value}" for name, value in head.items()), "---"])
    text = "\n\n".join(f"## {heading}\n\n{body.strip()}" for heading, body in sections.items())
    return f"{front}\n\n# {spec.name}\n\n{about}\n\n{text}\n"


def add_intervals(folder: Path, intervals: Intervals) -> None:
    """Write the model card of a finished run anew, with intervals beside what was evaluated."""
    described = json.loads((folder / "model" / "diptych.json").read_text(encoding="utf-8"))
    spec = config.from_dict(ModelSpec, described["spec"])
    partial = folder / f".{MODEL_CARD}.partial"  # beside the model, lest a kill leave a stranger in it
    partial.write_text(model_card(folder, spec, intervals), encoding="utf-8", errors="backslashreplace")
    os.replace(partial, folder / "model" / MODEL_CARD)


def _model(spec: ModelSpec) -> str:
    counts = parameters_of(spec)
    size = spec.image.image_size
    facts = {
        "image tower": f"{spec.image.kind}, {counts['image']:,} parameters, {size} x {size} pixels",
        "text tower": f"{spec.text.kind}, {counts['text']:,} parameters, up to {spec.text.context_length} tokens of a "
        f"vocabulary of {spec.text.vocabulary_size:,}",
        "embedding": f"{spec.embedding:,} numbers; scores: {spec.scores}",
    }
    return "\n".join(table(facts))


def _about(recipe: Mapping[str, Any]) -> str:
    begun = _begun_from(recipe)
    how = f"{f'begun from {begun} and ' if begun else ''}trained by the recipe `{recipe['name']}` of Diptych"
    if head := recipe.get("head"):
        return f"A CLIP model, {how} as a classifier of {len(head['classes']):,} classes."
    return f"A CLIP model: images and texts in one space, {how}."


def _begun_from(recipe: Mapping[str, Any]) -> str | None:
    """Which towers of which weights; None where all were drawn at random."""
    start = recipe.get("start") or {}
    if not start.get("weights"):
        return None
    which = "both towers" if start["towers"] == "both" else f"the {start['towers']} tower"
    return f"{which} of `{start['weights']}`"


def _sources(data: Mapping[str, Any], head: Mapping[str, Any] | None) -> str:
    told = []
    for source in (data, *data["mixture"]):
        facts = source_facts(source, mixed=bool(data["mixture"]))
        location = facts.pop("source")
        told.append(", ".join([str(location), *(f"{name} {fact}" for name, fact in facts.items() if fact is not None)]))
    classes = f"Images of {len(head['classes']):,} classes, without captions. " if head else ""
    known = (
        f"{classes}What is known of {'it' if len(told) == 1 else 'them'} is in the run's `{DATA_CARD}`. The licence "
        "was not stated; it may decide what the weights can be used for."
    )
    if len(told) == 1:
        return f"{told[0]}. {known}"
    return "\n".join(["A mixture of", "", *(f"- {one}" for one in told), "", known])


def _training(recipe: Mapping[str, Any]) -> str:
    towers = {f"{name} tower": recipe.get(f"{name}_tower", {}).get("learns", "all") for name in ("image", "text")}
    facts: dict[str, Any] = {"begun from": _begun_from(recipe)}
    facts |= {f"learns of the {tower}": learns for tower, learns in towers.items() if learns != "all"}
    facts |= {name.replace("_", " "): recipe[name] for name in ("duration", "batch_size", "precision", "seed")}
    optimizer = recipe["optimizer"]
    facts |= {"optimiser": {"adamw": "AdamW", "muon": "Muon"}.get(optimizer["algorithm"], optimizer["algorithm"])}
    facts |= {"learning rate": optimizer["learning_rate"], "weight decay": optimizer["weight_decay"]}
    if recipe.get("ema") is not None:
        facts["weights"] = f"the average over training, of decay {recipe['ema']} (EMA)"
    facts["loss"] = _loss(recipe)
    return "\n".join([*table(facts), "", "Every value is in `diptych.json` (`diptych inspect --json`)."])


def _loss(recipe: Mapping[str, Any]) -> str:
    loss = recipe["loss"]
    if head := recipe.get("head"):
        smoothing = f", label_smoothing {loss['label_smoothing']}" if loss["label_smoothing"] else ""
        return f"cross-entropy over {len(head['classes']):,} classes{smoothing}"
    return ", ".join(f"{name} {plain(value)}" for name, value in loss.items())


def _cost(folder: Path, head: Mapping[str, Any] | None) -> str:
    told = read_accounting(folder)
    if not told:
        return "Not recorded."
    lost = sum(part["device_hours"] for part in told["lost"])
    facts = {
        "steps": f"{told['steps']:,}",
        "samples seen": f"{told['samples']:,}",
        "pairs seen": None if head else f"{told['pairs']:,}",
        "operations of the towers": operations(told["flops"]),
        "device-hours": f"{told['device_hours']:.3g} on {told['devices']} x {told['device']}, {told['precision']}",
        "done again after interruptions": f"{lost:.3g} device-hours" if lost else "nothing",
    }
    return "\n".join(table(facts))


def _evaluation(folder: Path, intervals: Intervals) -> str:
    evaluations = [line for line in read_metrics(folder / "metrics.jsonl") if "loss" not in line]
    if not evaluations:
        return "None during training."
    last = dict(evaluations[-1])
    told = f"After step {last.pop('step'):,}:"
    return "\n".join([told, "", *_measured({name: (value, intervals.get(name)) for name, value in last.items()})])


def _measured(values: Mapping[str, tuple[float | None, Sequence[float] | None]]) -> list[str]:
    """Rows of metrics by name, each with its interval of 95 % where that is known."""
    lines = ["| metric | value | 95 % interval |", "|---|---|---|"]
    for name, (value, interval) in values.items():
        limits = "not known" if interval is None else "{:.4f} to {:.4f}".format(*interval)
        shown = "no finite number" if value is None else f"{value:.4g}"
        lines.append(f"| {name} | {shown} | {limits} |")
    return lines


def _use(spec: ModelSpec, head: Mapping[str, Any] | None) -> str:
    by_names = f"""\
```python
import diptych

clip = diptych.load("path/to/this/folder")  # {spec.image.image_size} px, {spec.text.context_length} tokens
print(clip.classify("photograph.jpg", ["cat", "dog"]))
```"""
    if not head:
        return by_names
    return f"""\
The classifier that was trained is the file `classifier.npz` beside this folder:

```
diptych classify path/to/this/folder photograph.jpg --labels path/to/classifier.npz
```

Zero-shot, by labels of your own:

{by_names}"""
