"""What a run says of itself to those who meet its model: a model card and a data card, in Markdown.

Both are made of what lies in the run's folder, so they can be made again at any time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diptych import config
from diptych.specs import ModelSpec
from diptych.training.accounting import read_accounting
from diptych.training.folder import write_text
from diptych.training.outline import parameters_of
from diptych.training.recipe import Recipe
from diptych.training.skipped import read_skipped
from diptych.training.survey import Survey
from diptych.training.units import operations
from diptych.training.watch import read_metrics

MODEL_CARD = "README.md"  # in model/, where hubs look for it
DATA_CARD = "data-card.md"
_REASONS = 10  # of skipped samples that are told one by one

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
    recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    sections = {
        "The model": _model(spec),
        "Training data": _sources(recipe["data"]),
        "Training": _training(recipe),
        "What it cost": _cost(folder),
        "Evaluation": _evaluation(folder, intervals or {}),
        "Intended use and limits": _LIMITS,
        "Use": _use(spec),
    }
    head = {
        "library_name": "diptych",
        "pipeline_tag": "zero-shot-image-classification",
        "license": "unknown",
        "tags": "[clip, diptych, contrastive-learning, image-text-retrieval]",
    }
    front = "\n".join(["---", *(f"{name}: {value}" for name, value in head.items()), "---"])
    text = "\n\n".join(f"## {heading}\n\n{body.strip()}" for heading, body in sections.items())
    about = f"A CLIP model: images and texts in one space, trained by the recipe `{recipe['name']}` of Diptych."
    return f"{front}\n\n# {spec.name}\n\n{about}\n\n{text}\n"


def add_intervals(folder: Path, intervals: Intervals) -> None:
    """Write the model card of a finished run anew, with intervals beside what was evaluated."""
    described = json.loads((folder / "model" / "diptych.json").read_text(encoding="utf-8"))
    spec = config.from_dict(ModelSpec, described["spec"])
    partial = folder / f".{MODEL_CARD}.partial"  # beside the model, lest a kill leave a stranger in it
    partial.write_text(model_card(folder, spec, intervals), encoding="utf-8", errors="backslashreplace")
    os.replace(partial, folder / "model" / MODEL_CARD)


def data_card(recipe: Recipe, survey: Survey, fingerprint: str, skipped: Mapping[str, str]) -> str:
    """What is known of the data of a run. ``skipped``: reasons by sample, of all parts of the run."""
    data = recipe.data
    fewest, median, many, most = survey.words
    facts = {
        "source": f"`{data.source}`",
        "mixed with": ", ".join(f"`{other.source}`" for other in data.mixture) or None,
        "split": data.split,
        "captions from": ", ".join(data.captions or ()) or None,
        "keywords from": ", ".join(data.keywords) or None,
        "only where": data.where,
        "fingerprint": fingerprint or "none; the source is not on disk",
        "samples": f"{survey.samples:,}" + (f" in {survey.shards:,} shards" if survey.shards > 1 else ""),
        "captions of an image": f"{survey.captions:.2f}",
        "words of a caption": f"{median} (median); 95 % have up to {many}; from {fewest} to {most}",
        "tokens of a caption": f"{survey.mean_tokens:.1f} on average, at most {max(survey.tokens, default=0)}",
        "cut to the context": f"{survey.longer_than(recipe.model.text.context_length):.1%} of the captions",
        "languages": ", ".join(survey.languages) or "not stated",
        "short side of images": "{1} px (median); from {0} to {2} px".format(*survey.sides),
    }
    augmentation = ", ".join(f"{name} {_plain(value)}" for name, value in config.to_dict(data.augmentation).items())
    lines = [
        f"# Data of {recipe.name}: {survey.name}",
        "",
        f"Captions and images: of {survey.looked_at:,} samples, spread evenly.",
        "",
        *_table(facts),
        "",
        "## Augmentation",
        "",
        f"Each visit of an image draws anew: {augmentation}; {data.captions_per_image} of its captions.",
        "",
        "## Samples that could not be used",
        "",
        *_skipped(skipped, survey),
    ]
    return "\n".join(lines) + "\n"


def write_data_card(folder: Path, recipe: Recipe, survey: Survey, fingerprint: str) -> None:
    """Write it into a run's folder."""
    skipped: dict[str, str] = {}
    for path in sorted(folder.glob("skipped*.json")):
        skipped |= read_skipped(path)
    write_text(folder / DATA_CARD, data_card(recipe, survey, fingerprint, skipped))


def _model(spec: ModelSpec) -> str:
    counts = parameters_of(spec)
    size = spec.image.image_size
    facts = {
        "image tower": f"{spec.image.kind}, {counts['image']:,} parameters, {size} x {size} pixels",
        "text tower": f"{spec.text.kind}, {counts['text']:,} parameters, up to {spec.text.context_length} tokens of a "
        f"vocabulary of {spec.text.vocabulary_size:,}",
        "embedding": f"{spec.embedding:,} numbers; scores: {spec.scores}",
    }
    return "\n".join(_table(facts))


def _sources(data: Mapping[str, Any]) -> str:
    captions = f", captions from {', '.join(data['captions'])}" if data.get("captions") else ""
    others = "".join(f", `{other['source']}`" for other in data["mixture"])
    return (
        f"`{data['source']}`{others}{captions}. What is known of them is in the run's `{DATA_CARD}`. Their licence "
        "was not stated; it may decide what the weights can be used for."
    )


def _training(recipe: Mapping[str, Any]) -> str:
    rate = recipe["optimizer"]["learning_rate"]
    facts: dict[str, Any] = {
        name.replace("_", " "): recipe[name] for name in ("duration", "batch_size", "precision", "seed")
    }
    facts |= {"learning rate": rate, "weight decay": recipe["optimizer"]["weight_decay"]}
    facts |= {"loss": ", ".join(f"{name} {_plain(value)}" for name, value in recipe["loss"].items())}
    return "\n".join([*_table(facts), "", "Every value is in `diptych.json` (`diptych inspect --json`)."])


def _cost(folder: Path) -> str:
    told = read_accounting(folder)
    if not told:
        return "Not recorded."
    lost = sum(part["device_hours"] for part in told["lost"])
    facts = {
        "steps": f"{told['steps']:,}",
        "samples seen": f"{told['samples']:,}",
        "pairs seen": f"{told['pairs']:,}",
        "operations of the towers": operations(told["flops"]),
        "device-hours": f"{told['device_hours']:.3g} on {told['devices']} x {told['device']}, {told['precision']}",
        "done again after interruptions": f"{lost:.3g} device-hours" if lost else "nothing",
    }
    return "\n".join(_table(facts))


def _evaluation(folder: Path, intervals: Intervals) -> str:
    evaluations = [line for line in read_metrics(folder / "metrics.jsonl") if "loss" not in line]
    if not evaluations:
        return "None during training."
    last = dict(evaluations[-1])
    lines = [f"After step {last.pop('step'):,}:", "", "| metric | value | 95 % interval |", "|---|---|---|"]
    for name, value in last.items():
        interval = "{:.4f} to {:.4f}".format(*intervals[name]) if name in intervals else "not known"
        shown = "no finite number" if value is None else f"{value:.4g}"
        lines.append(f"| {name} | {shown} | {interval} |")
    return "\n".join(lines)


def _use(spec: ModelSpec) -> str:
    return f"""\
```python
import diptych

clip = diptych.load("path/to/this/folder")  # {spec.image.image_size} px, {spec.text.context_length} tokens
print(clip.classify("photograph.jpg", ["cat", "dog"]))
```"""


def _skipped(skipped: Mapping[str, str], survey: Survey) -> list[str]:
    if not skipped:
        found = "" if not survey.unreadable else f" {len(survey.unreadable)} of those looked at for this card."
        return [f"None in training.{found}", *(f"- {problem}" for problem in survey.problems)]
    told = [f"- {reason}" for _, reason in sorted(skipped.items())[:_REASONS]]
    more = [f"- and {len(skipped) - _REASONS:,} more: `skipped.json`"] if len(skipped) > _REASONS else []
    return [f"{len(skipped):,}, each replaced by another:", "", *told, *more]


def _table(facts: Mapping[str, object]) -> list[str]:
    rows = [f"| {name} | {value} |" for name, value in facts.items() if value is not None]
    return ["| | |", "|---|---|", *rows]


def _plain(value: object) -> str:
    return " to ".join(map(str, value)) if isinstance(value, list | tuple) and value else str(value)
