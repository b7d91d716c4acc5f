"""Zero-shot classification as a task: images are ranked by what the names of classes weigh."""

from __future__ import annotations

from dataclasses import replace

from diptych.encoder.clip import Clip
from diptych.errors import ConfigError, DataError
from diptych.evaluation.analyses import with_ablation, with_confidence
from diptych.evaluation.by_name import ByName, by_name, weights_of
from diptych.evaluation.features import Features
from diptych.evaluation.judging import Judge, tell_absent
from diptych.evaluation.plan import Options, Plan, Splits
from diptych.evaluation.result import Scores
from diptych.evaluation.subjects import Subject, name_of
from diptych.text import prompts


def plan(subject: Subject, data: Splits, options: Options) -> Plan:
    """Everything but the images: whether there are classes, and their weights."""
    named, source = by_name(subject, data, options), data.test
    ablated = _ablated(named, data) if options.ablate_prompts else {}
    # Looks into the data, once all else is known to be right, and into none that are only to be learned from.
    judge = Judge.of(replace(data, train=None, validation=None))
    _check_options(named, judge, options)

    def score(features: Features) -> Scores:
        truth = judge.truth(features, source)
        tell_absent(judge, truth, features)
        scores = named.judged(judge, truth, features)
        if judge.kind == "single label" and isinstance(subject, Clip):
            if named.is_probable:
                scores = with_confidence(scores, subject.spec.scores, options.none_of_these)
            if ablated:
                others = {prompt: other.judged(judge, truth, features) for prompt, other in ablated.items()}
                told = {prompt: other.templates for prompt, other in ablated.items()}
                scores = with_ablation(scores, others, told, features.keys)
        return scores

    return Plan(
        need="label",
        wanted=("embeddings",),
        splits={"test": source},
        score=lambda features: score(features["test"]),
        texts=named.texts,
        metric=judge.metric,
        class_names=named.class_names,
        templates=named.templates,
    )


def _ablated(named: ByName, data: Splits) -> dict[str, ByName]:
    """By the name alone, one template, one with a hint of the domain, and the ensemble (paper, 3.1.4), which is what is
    measured where that has several templates."""
    study = prompts.ablation((data.row.prompts if data.row else "") or "photo-ensemble")
    if len(named.templates) > 1:
        study["ensemble"] = named.templates
    subject, names = named.subject, named.names
    return {
        prompt: named
        if templates == named.templates
        else replace(named, templates=templates, weights_CE=weights_of(subject, names, templates))
        for prompt, templates in study.items()
    }


def _check_options(named: ByName, judge: Judge, options: Options) -> None:
    """Refuse what would be left out in silence."""
    is_clip = isinstance(named.subject, Clip)
    wanted = {"none_of_these": options.none_of_these is not None, "ablate_prompts": options.ablate_prompts}
    for option in (name for name, asked in wanted.items() if asked):
        if not is_clip:
            raise ConfigError(
                f"{option} is for a model that embeds texts, and {name_of(named.subject)} writes captions"
            )
        if judge.kind != "single label":
            raise ConfigError(f"{option} is of accuracy among classes, and these data are measured by {judge.metric}")
    if options.none_of_these is not None and not named.is_probable:
        raise DataError(f"{named.untold}, and none_of_these needs some")
