"""Linear probes and nearest neighbours as tasks: what features of images tell (paper, section 3)."""

from __future__ import annotations

import hashlib
import json
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from diptych.encoder.clip import Clip
from diptych.errors import Caution, ConfigError, nearest
from diptych.evaluation.by_name import ByName, by_name
from diptych.evaluation.feature_files import Wanted
from diptych.evaluation.features import Features
from diptych.evaluation.judging import Judge, tell_absent
from diptych.evaluation.linear import Linear, approximating
from diptych.evaluation.neighbours import nearest_neighbours
from diptych.evaluation.plan import Options, Plan, Split, Splits
from diptych.evaluation.probes import HELD_OUT, Search, search
from diptych.evaluation.result import Scores
from diptych.evaluation.split import Labelled, held_out
from diptych.evaluation.subjects import Subject, name_of
from diptych.progress import say
from diptych.replacing import replacing

STARTS = ("zeros", "zero-shot")
_TOP = 5


def plan_linear_probe(subject: Subject, data: Splits, options: Options) -> Plan:
    """The paper's probe: its penalty chosen on the validation split, then refitted on that too."""
    judge, beginning = Judge.of(data), Beginning.of(subject, data, options)

    def score(features: Mapping[Split, Features]) -> Scores:
        train, validation, test = labelled(judge, data, features)
        found = fitted(judge, train, validation, features, options, beginning.at(features["train"]))
        scores = judge.score_classes(found.probe.scores(test.features_ND), test.truth, features["test"])
        return replace(scores.prefixed("lp_"), details={**scores.details, "probe": found.told})

    metric, names = f"lp_{judge.metric}", judge.class_names
    return Plan("label", beginning.wanted, data.learning(), score, beginning.texts, metric, class_names=names)


def plan_neighbours(subject: Subject, data: Splits, options: Options) -> Plan:
    """Votes of the nearest training images; how many is chosen on the validation split. Fewer than five neighbours know
    of fewer than five classes, and of those there is no top-5 accuracy."""
    judge = Judge.of(data)

    def score(features: Mapping[Split, Features]) -> Scores:
        train, validation, test = labelled(judge, data, features)
        if validation is None:
            train, validation = held_out(train, HELD_OUT, options.seed)
        found = nearest_neighbours(train, validation, judge.quality, classes=len(judge.class_names))
        scores = judge.score_classes(found.scores(test.features_ND), test.truth, features["test"])
        if found.count < _TOP and judge.metric != "mean_acc1_acc5":
            scores = scores.without("acc5")
        return replace(
            scores.prefixed("knn_"), details={**scores.details, "neighbours": found.count, "tried": found.metrics}
        )

    metric = f"knn_{judge.metric}"
    return Plan("label", ("features",), data.learning(), score, metric=metric, class_names=judge.class_names)


@dataclass(frozen=True, eq=False)
class Beginning:
    """What the penalty of a probe draws its weights to: those of a zero-shot classifier, or zeros."""

    named: ByName | None

    @classmethod
    def of(cls, subject: Subject, data: Splits, options: Options) -> Beginning:
        """As the option ``start`` says. Raises ConfigError for a model without zero-shot weights."""
        if options.start not in STARTS:
            raise ConfigError(f"there is no start {options.start!r}; {nearest(str(options.start), STARTS)}")
        if options.start == "zeros":
            return cls(None)
        if not isinstance(subject, Clip):
            raise ConfigError(f"{name_of(subject)} embeds no texts, so a probe of it begins from zeros (--start zeros)")
        return cls(by_name(subject, data, Options(templates=options.templates)))

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """Which outputs of the model are needed."""
        return ("features", "embeddings") if self.named else ("features",)

    @property
    def texts(self) -> list[str]:
        """What it depends on beside the data."""
        return self.named.texts if self.named else []

    def at(self, features: Features) -> Linear | None:
        """As weights of the features before the projection, by those of some images, whatever these show; None where it
        is zeros."""
        if self.named is None:
            return None
        named = self.named
        return approximating(features.features_ND, named.scale * features.embeddings_NE @ named.weights_CE.T)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A probe, and how its strength was found, as plain data for JSON."""

    probe: Linear
    told: dict[str, Any]


def fitted(
    judge: Judge,
    train: Labelled,
    validation: Labelled | None,
    features: Mapping[Split, Features],
    options: Options,
    towards: Linear | None = None,
) -> Fitted:
    """The paper's probe of a training split. Where its features are kept, so is the probe, beside them, and a search
    that was made before is not made again."""
    classes, folder, file = len(judge.class_names), features["train"].folder, None
    if folder is not None:
        file = folder / f"probe-{_known_by(judge, train, validation, features, options, towards)}.npz"
        if found := _read(file, (classes, train.features_ND.shape[1])):
            say(f"a probe of these {len(train.truth)} samples was fitted before")
            return found
    say(f"searching the strength of a probe of {len(train.truth)} x {train.features_ND.shape[1]} features")
    told: dict[str, Any] = {"solver": options.solver, "seed": options.seed, "towards": towards}
    made = search(train, validation, judge.quality, classes=classes, **told)
    found = Fitted(made.probe, _told(made))
    if file is not None:
        _write(found, file)
    return found


def labelled(
    judge: Judge, data: Splits, features: Mapping[Split, Features], wanted: Wanted = "features"
) -> tuple[Labelled, Labelled | None, Labelled]:
    """Train, validation where there is one, and test, with the classes numbered as in test."""
    found: dict[Split, Labelled] = {}
    for split, source in data.learning().items():
        own = features[split]
        images_ND = own.features_ND if wanted == "features" else own.embeddings_NE
        found[split] = Labelled(images_ND, judge.truth(own, source))
    tell_absent(judge, found["test"].truth, features["test"])
    if judge.kind != "multi-label":
        learned = np.concatenate([found[split].truth for split in found if split != "test"])
        if len(unknown := np.setdiff1d(found["test"].truth, learned)):
            warnings.warn(
                f"{data.title} has images of {len(unknown)} of its classes of which there is none to learn from, such "
                f"as {judge.class_names[unknown[0]]!r}; they count as wrong",
                Caution,
                stacklevel=2,
            )
    return found["train"], found.get("validation"), found["test"]


def _known_by(
    judge: Judge,
    train: Labelled,
    validation: Labelled | None,
    features: Mapping[Split, Features],
    options: Options,
    towards: Linear | None,
) -> str:
    """A hash of all that a probe depends on beside the features that it lies with."""
    digest = hashlib.sha256()
    for split, part in (("train", train), ("validation", validation)):
        if part is not None:
            own = features[split]
            digest.update(repr([own.folder and own.folder.name, own.fingerprint, part.truth.shape]).encode())
            digest.update(np.ascontiguousarray(part.truth).tobytes())
    if towards is not None:
        digest.update(towards.weights_CD.tobytes() + towards.bias_C.tobytes())
    digest.update(repr([judge.kind, judge.metric, len(judge.class_names), options.solver, options.seed]).encode())
    return digest.hexdigest()[:16]


def _write(found: Fitted, file: Path) -> None:
    try:
        with replacing(file) as partial, open(partial, "wb") as opened:
            told = json.dumps(found.told)
            np.savez(opened, weights_CD=found.probe.weights_CD, bias_C=found.probe.bias_C, told=np.array(told))
    except OSError as problem:
        say(f"warning: the probe cannot be kept: {problem.strerror or problem}")


def _read(file: Path, shape: tuple[int, int]) -> Fitted | None:
    """None where there is none, or it is damaged."""
    try:
        with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as archive:
            found = Fitted(Linear(archive["weights_CD"], archive["bias_C"]), json.loads(str(archive["told"])))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile, zlib.error) as problem:
        say(f"{file} holds no probe, so another is fitted: {problem}")
        return None
    fine = found.probe.weights_CD.shape == shape and found.probe.bias_C.shape == shape[:1]
    return found if fine else None


def _told(found: Search) -> dict[str, Any]:
    return {
        "strength": found.selection.chosen.strength,
        "at_edge": found.selection.at_edge,
        "chosen_on": found.validation,
        "tried": [asdict(trial) for trial in found.selection.trials],
        "converged": found.probe.converged,
        "iterations": found.probe.iterations,
    }
