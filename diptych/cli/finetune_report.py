"""What fine-tuning is measured by while it lasts, and what is won and lost at each mixture with the model before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.checkpoints.bundle import fingerprint
from diptych.checkpoints.writing import write
from diptych.cli.output import markdown
from diptych.cli.reading import of_validation
from diptych.data.fingerprint import stamp
from diptych.data.relabelled import class_rows
from diptych.data.sources import Source, open_source
from diptych.errors import DataError
from diptych.evaluation.head import classify
from diptych.evaluation.tasks import evaluate
from diptych.progress import say
from diptych.report.mixing import Accuracies, mixtures_svg
from diptych.training.cards import add_intervals, mixed_card
from diptych.training.folder import occupied, write_json, write_text
from diptych.training.head import CLASSIFIER, begin_head, classifier_of
from diptych.training.interpolation import between
from diptych.training.start import begin

if TYPE_CHECKING:
    from diptych.encoder.clip import Clip
    from diptych.training.loop import Run
    from diptych.training.recipe import Recipe
    from diptych.training.session import Evaluator
    from diptych.training.trained import Model

ALPHAS = tuple(step / 10 for step in range(11))
MIXTURES = "mixtures.json"  # in the folder of the run


@dataclass(frozen=True)
class Tasks:
    """What the model is measured by: by its classifier, on data of the same kind and of others; and zero-shot, on other
    tasks. Names begin with which of these it is."""

    classified: dict[str, Source]
    zero_shot: dict[str, Source]

    @classmethod
    def opened(
        cls, validation: str | None, shifted: Sequence[str], held_out: Sequence[str], split: str | None
    ) -> Tasks:
        """From locations. Raises DataError where one has no classes."""
        classified = {"validation": _opened(validation, split)} if validation else {}
        zero_shot: dict[str, Source] = {}
        for kind, locations, into in (("shifted", shifted, classified), ("held-out", held_out, zero_shot)):
            for source in (_opened(location, split) for location in locations):
                into[_name(kind, source, into)] = source
        return cls(classified, zero_shot)

    @property
    def names(self) -> list[str]:
        """Of all tasks."""
        return [*self.classified, *self.zero_shot]

    def check(self, recipe: Recipe) -> None:
        """Raise DataError where a class to be judged by is none of those that are learned."""
        for source in self.classified.values():
            class_rows(source, recipe.head.classes if recipe.head else ())

    def stamps(self) -> dict[str, str]:
        """Of each task, what tells its data from others."""
        return {name: stamp(source) for name, source in (self.classified | self.zero_shot).items()}

    def evaluators(self, recipe: Recipe) -> dict[str, Evaluator]:
        """For ``train``: the accuracy at each task."""
        return {name: lambda clip, name=name: {"acc1": self.measure(name, clip, recipe)["acc1"]} for name in self.names}

    def measure(self, name: str, clip: Clip, recipe: Recipe) -> dict[str, Any]:
        """Accuracy and its 95 % interval at a task."""
        if name in self.zero_shot:
            result = evaluate(clip, self.zero_shot[name], "zero-shot")
            return {"acc1": result.metrics["acc1"], "interval": list(result.intervals["acc1"])}
        if recipe.head is None:
            raise AssertionError("fine-tuning has a head")
        scores = classify(classifier_of(clip, recipe.head), self.classified[name])
        return {"acc1": scores.metrics["acc1"], "interval": list(scores.intervals["acc1"])}


def report(run: Run, recipe: Recipe, tasks: Tasks, alpha: float) -> None:
    """Measure every mixture, print and write the table and the curve, and write the mixture at ``alpha``."""
    if recipe.head is None:
        raise AssertionError("fine-tuning has a head")
    start = begin(recipe.model, recipe.start, vocabulary=recipe.vocabulary, tokenizer=_none_to_learn, seed=recipe.seed)
    begin_head(start.model, start.tokenizer, recipe.head)
    before = start.model.to(run.clip.model.logit_scale.device)
    of_mixed: dict[str, Any] = {}
    with occupied(run.folder):
        if tasks.names:
            measured = _measured(run, before, recipe, tasks, alpha)
            rows = [[f"{at['alpha']:g}", *(_shown(at[name]) for name in tasks.names)] for at in measured]
            print(markdown(["alpha", *tasks.names], rows), end="", flush=True)
            _draw(run, tasks, measured)
            [of_mixed] = [{name: at[name] for name in tasks.names} for at in measured if at["alpha"] == alpha]
            [last] = [at for at in measured if at["alpha"] == 1]
            add_intervals(run.folder, {f"{name}/acc1": tuple(last[name]["interval"]) for name in tasks.names})
        mixed, classifier = between(before, run.clip, alpha), run.folder / "mixed" / CLASSIFIER
        classifier.unlink(missing_ok=True)  # lest a kill leave it beside a model of another alpha
        card = mixed_card(run.folder, mixed.spec, alpha, of_mixed)
        write(mixed.bundle(), run.folder / "mixed" / "model", card=card)
        classifier_of(mixed, recipe.head).save(classifier)
    print(f"the model is in {run.folder / 'model'}, its classifier in {run.folder / CLASSIFIER}")
    print(f"both at alpha {alpha:g}, mixed with the model before, are in {run.folder / 'mixed'}")


def _measured(run: Run, before: Model, recipe: Recipe, tasks: Tasks, alpha: float) -> list[dict[str, Any]]:
    """Every mixture at every task, by alpha. Each is in ``mixtures.json`` as soon as it is measured, and what is there
    of the same weights and data is not measured again."""
    path = run.folder / MIXTURES
    of = {
        "before": fingerprint(before.state_dict()),
        "after": fingerprint(run.clip.model.state_dict()),
        "data": tasks.stamps(),
    }
    known = _known(path, of)
    left = sorted({*ALPHAS, alpha} - known.keys())
    if left:
        say(f"measuring {len(left)} mixtures at {len(tasks.names)} tasks")
    for share in left:
        clip = between(before, run.clip, share)
        known[share] = {"alpha": share, **{name: tasks.measure(name, clip, recipe) for name in tasks.names}}
        write_json(path, {**of, "mixtures": [known[share] for share in sorted(known)]})
    return [known[share] for share in sorted(known)]


def _known(path: Path, of: dict[str, Any]) -> dict[float, dict[str, Any]]:
    """What was measured before, by alpha; nothing where it is of other weights or data, or may be, or is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        same = all(of["data"].values()) and all(found[key] == value for key, value in of.items())
        return {float(at["alpha"]): at for at in found["mixtures"]} if same else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _draw(run: Run, tasks: Tasks, measured: Sequence[dict[str, Any]]) -> None:
    def accuracies(name: str) -> Accuracies:
        return Accuracies(name, [at[name]["acc1"] for at in measured], [at[name]["interval"] for at in measured])

    svg = mixtures_svg(
        [at["alpha"] for at in measured],
        [accuracies(name) for name in tasks.names],
        against="validation" if "validation" in tasks.names else None,
    )
    write_text(run.folder / "mixtures.svg", svg)


def _opened(location: str, split: str | None) -> Source:
    try:
        source = open_source(location)
    except DataError:  # among others, for it has several splits
        with of_validation():
            source = open_source(location, split=split)
    if not source.class_names:
        raise DataError(f"{source.name} has no class names, so there is nothing to classify into")
    return source


def _name(kind: str, source: Source, taken: dict[str, Source]) -> str:
    plain = name = f"{kind} {source.name.replace('/', '-')}"
    number = 1
    while name in taken:
        number += 1
        name = f"{plain} {number}"
    return name


def _shown(at: dict[str, Any]) -> str:
    low, high = at["interval"]
    return f"{at['acc1']:.1%} ({low:.1%} to {high:.1%})"


def _none_to_learn() -> Any:
    raise AssertionError("a model that is fine-tuned brings its tokenizer")
