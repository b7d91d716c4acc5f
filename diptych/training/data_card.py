"""What a run says of its data: a data card, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diptych import config
from diptych.training.folder import write_text
from diptych.training.head import HeadSpec
from diptych.training.recipe import Recipe
from diptych.training.skipped import read_skipped
from diptych.training.survey import Survey

DATA_CARD = "data-card.md"
_TOLD = 10  # skipped samples, or classes, that are told one by one


def data_card(recipe: Recipe, survey: Survey, fingerprint: str, skipped: Mapping[str, str]) -> str:
    """What is known of the data of a run. ``skipped``: reasons by sample, of all parts of the run."""
    data, mixed = recipe.data, bool(recipe.data.mixture)
    sources = [source_facts(config.to_dict(source), mixed=mixed) for source in (data, *data.mixture)]
    facts: dict[str, object] = {} if mixed else dict(sources[0])
    facts |= {
        "fingerprint": fingerprint or "none; the source is not on disk",
        "samples": f"{survey.samples:,}" + (f" in {survey.shards:,} shards" if survey.shards > 1 else ""),
        **(_classes(recipe.head) if recipe.head else _captions(recipe, survey)),
        "short side of images": "{1} px (median); from {0} to {2} px".format(*survey.sides),
    }
    augmentation = ", ".join(f"{name} {plain(value)}" for name, value in config.to_dict(data.augmentation).items())
    captions = "" if recipe.head else f"; {data.captions_per_image} of its captions"
    lines = [
        f"# Data of {recipe.name}: {survey.name}",
        "",
        *(_side_by_side(sources) if mixed else []),
        f"{'Images' if recipe.head else 'Captions and images'}: of {survey.looked_at:,} samples, spread evenly"
        f"{' over all sources, whatever their weights' if mixed else ''}.",
        "",
        *table(facts),
        "",
        "## Augmentation",
        "",
        f"Each visit of an image draws anew: {augmentation}{captions}.",
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


def source_facts(source: Mapping[str, Any], *, mixed: bool) -> dict[str, object]:
    """What a recipe says of one of its sources, as JSON has it; None for what it leaves open. ``mixed``: there are
    several, so that weights matter."""
    return {
        "source": f"`{source['source']}`",
        "split": source.get("split"),
        "captions from": ", ".join(source.get("captions") or ()) or None,
        "keywords from": ", ".join(source.get("keywords") or ()) or None,
        "only where": source.get("where"),
        "weight": _weight(source.get("weight", 1.0)) if mixed else None,
    }


def _weight(weight: Any) -> str:
    if isinstance(weight, list | tuple):
        return ", ".join(f"{value:g} at step {step:,}" for step, value in weight) + ", linear between"
    return f"{weight:g}"


def _side_by_side(sources: list[dict[str, object]]) -> list[str]:
    names = [name for name in sources[0] if any(source[name] is not None for source in sources)]
    rows = [[" " if source[name] is None else str(source[name]) for name in names] for source in sources]
    lines = [f"| {' | '.join(cells)} |" for cells in (names, ["---"] * len(names), *rows)]
    return ["Drawn from together, in the proportions of their weights:", "", *lines, ""]


def _captions(recipe: Recipe, survey: Survey) -> dict[str, object]:
    fewest, median, many, most = survey.words
    return {
        "captions of an image": f"{survey.captions:.2f}",
        "words of a caption": f"{median} (median); 95 % have up to {many}; from {fewest} to {most}",
        "tokens of a caption": f"{survey.mean_tokens:.1f} on average, at most {max(survey.tokens, default=0)}",
        "cut to the context": f"{survey.longer_than(recipe.model.text.context_length):.1%} of the captions",
        "languages": ", ".join(survey.languages) or "not stated",
    }


def _classes(head: HeadSpec) -> dict[str, object]:
    told = ", ".join(head.classes[:_TOLD])
    more = f" and {len(head.classes) - _TOLD:,} more: `recipe.json`" if len(head.classes) > _TOLD else ""
    return {"classes": f"{len(head.classes):,}: {told}{more}"}


def _skipped(skipped: Mapping[str, str], survey: Survey) -> list[str]:
    if not skipped:
        found = "" if not survey.unreadable else f" {len(survey.unreadable)} of those looked at for this card."
        return [f"None in training.{found}", *(f"- {problem}" for problem in survey.problems)]
    told = [f"- {reason}" for _, reason in sorted(skipped.items())[:_TOLD]]
    more = [f"- and {len(skipped) - _TOLD:,} more: `skipped.json`"] if len(skipped) > _TOLD else []
    return [f"{len(skipped):,}, each replaced by another:", "", *told, *more]


def table(facts: Mapping[str, object]) -> list[str]:
    """Rows of Markdown, of all facts that are known."""
    rows = [f"| {name} | {value} |" for name, value in facts.items() if value is not None]
    return ["| | |", "|---|---|", *rows]


def plain(value: object) -> str:
    """A value of a recipe; of a list, "a to b"."""
    return " to ".join(map(str, value)) if isinstance(value, list | tuple) and value else str(value)
