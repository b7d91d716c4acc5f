"""What readers of a number are told of it, and what is refused before any image is read."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import SPEC

from diptych.data.sources import Sample
from diptych.encoder.clip import Clip
from diptych.encoder.loading import create
from diptych.errors import Caution, ConfigError, DataError
from diptych.evaluation.by_name import by_name
from diptych.evaluation.datasets import Row
from diptych.evaluation.features import Features
from diptych.evaluation.judging import Judge
from diptych.evaluation.plan import Options, Splits
from diptych.evaluation.tasks import evaluate
from diptych.text.tokenizer import Tokenizer

CLASSES = ("blue", "green", "red")
AREA = Row(name="own", title="Own", metric="roc_auc", kind="binary", prompts="")


class Listed:
    """A source of labels alone, whose images are never to be read."""

    templates = None

    def __init__(self, name: str, *labels: int, classes: tuple[str, ...] = ("no", "yes")) -> None:
        self.name, self.labels, self.class_names = name, labels, classes

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, i: int, /) -> Sample:
        return Sample(b"", (), self.labels[i], str(i))


@pytest.fixture(scope="module")
def make() -> Callable[..., Clip]:
    tokenizer = Tokenizer.train(["a photo of a red green blue"], vocabulary_size=530, context_length=60)
    return lambda **changed: create(dataclasses.replace(SPEC, **changed), seed=0, tokenizer=tokenizer)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    def embedded(*_: object, **__: object) -> None:
        raise AssertionError("images were read")

    monkeypatch.setattr("diptych.evaluation.tasks.embed", embedded)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In the measured split, both images of red of 24 are damaged."""
    folder, generator = tmp_path_factory.mktemp("data") / "colours", np.random.default_rng(0)
    for split in ("train", "test"):
        for number, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for i in range(2 if (split, name) == ("test", "red") else 11):
                pixels = generator.normal(60, 25, (16, 16, 3)).clip(0, 255).astype(np.uint8)
                pixels[..., number] += 100
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
                if (split, name) == ("test", "red"):
                    (folder / split / name / f"{i}.png").write_bytes(b"nothing")
    return folder


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("task", ["zero-shot", "linear-probe", "few-shot", "few-shot-cache", "nearest-neighbours"])
def test_an_area_that_cannot_be_is_told_before_images_are_read(make: Callable[..., Clip], task: str) -> None:
    one, three, both = (Listed("one", 0, 0, 0), Listed("three", 0, 1, 2, classes=CLASSES), Listed("both", 0, 1, 0, 1))
    alone, again, more = Listed("alone", 0, 0, classes=("no",)), Listed("again", 1, 0), Listed("more", 1, 0, 1)
    for splits, message in (
        (Splits(three, both, again, row=AREA), "own has 3 classes, and roc_auc is of two"),
        (Splits(alone, both, again, row=AREA), "own has 1 classes, and roc_auc is of two"),
        (Splits(one, both, again, row=AREA, name="val"), "own: its split 'val' has 3 of 'no' and 0 of 'yes'; roc_auc"),
        (Splits(both, one, again, row=AREA), "own: its split 'train' has 3 of 'no' and 0 of 'yes'"),
        (Splits(both, more, one, row=AREA), "own: its split 'validation' has 3 of 'no' and 0 of 'yes'"),
        # Two of each are needed where some of them are held out.
        (Splits(both, Listed("few", 0, 0, 1), row=AREA), "own: its split 'train' has 2 of 'no' and 1 of 'yes'"),
    ):
        if task == "zero-shot" and splits.test is both:  # it learns from none
            continue
        with pytest.raises(DataError, match=message):
            evaluate(make(), splits, task)
    other = Listed("other", 1, 0, classes=("yes", "no"))
    assert Judge.of(Splits(both, other, again, row=AREA)).kind == "binary"
    with pytest.raises(AssertionError, match="images were read"):
        evaluate(make(), Splits(both, more, again, row=AREA), task)


@pytest.mark.filterwarnings("ignore:some images could not be used")
@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 1000.0, -1000.0])
def test_accuracy_needs_no_temperature(make: Callable[..., Clip], folder: Path, scores: str, value: float) -> None:
    clip = make(scores=scores)
    told = evaluate(clip, folder, "zero-shot")
    with torch.no_grad():
        clip.model.logit_scale.fill_(value)
    with pytest.warns(Caution, match="tiny multiplies its scores by"):
        found = evaluate(clip, folder, "zero-shot")
    for column in ("rank", "predicted"):
        assert found.predictions[column] == told.predictions[column]
    assert found.metrics == {name: figure for name, figure in told.metrics.items() if name != "ece"}
    assert not {"confidence", "nll", "brier"} & set(found.predictions)
    assert "calibration" not in found.details
    assert any("calibration is left out" in remark for remark in found.remarks)
    with pytest.raises(DataError, match="none_of_these needs some"):
        evaluate(clip, folder, "zero-shot", none_of_these=0.3)


def test_images_that_are_embedded_as_zeros_are_told(make: Callable[..., Clip]) -> None:
    clip, labels_N = make(), np.array([0, 1, 2, 0])
    named = by_name(clip, Splits(Listed("colours", *labels_N, classes=CLASSES)), Options(templates="{}"))
    features = Features(
        embeddings_NE=named.weights_CE[labels_N],
        features_ND=np.empty((4, 0)),
        captions=((),) * 4,
        labels=tuple(labels_N.tolist()),
        label_sets=(None,) * 4,
        unjudged=((),) * 4,
        keys=tuple("abcd"),
        failures=(),
        fingerprint="",
        images=(b"",) * 4,
    )
    judge = Judge("single label", CLASSES, "acc1")
    assert named.judged(judge, labels_N, features).metrics["acc1"] == 1
    features.embeddings_NE[0] = 0
    with pytest.warns(Caution, match="tiny embeds 1 of 4 images as zeros, which no class is near; they count as wrong"):
        assert named.judged(judge, labels_N, features).metrics["acc1"] == 0.75
    features.embeddings_NE[:] = 0
    with pytest.raises(DataError, match="tiny embeds 4 of 4 images as zeros"):
        named.judged(judge, labels_N, features)


@pytest.mark.filterwarnings("ignore:the best")
@pytest.mark.parametrize("task", ["zero-shot", "linear-probe", "nearest-neighbours"])
def test_a_class_of_which_no_image_could_be_used_is_told(make: Callable[..., Clip], folder: Path, task: str) -> None:
    with pytest.warns(Caution, match="none is left of 1 of the 3 classes, such as 'red'; means over classes are over"):
        result = evaluate(make(), folder, task)
    assert len(result.skipped) == 2
    assert sum("none is left of 1" in remark for remark in result.remarks) == 1


@pytest.mark.filterwarnings("ignore:the best", "ignore:some images", "ignore:.*fewer than")
@pytest.mark.parametrize("sure", [True, False])
def test_what_is_matched_at_chance_says_nothing(
    make: Callable[..., Clip], folder: Path, monkeypatch: pytest.MonkeyPatch, sure: bool
) -> None:
    monkeypatch.setattr("diptych.evaluation.shot_tasks._above_chance", lambda *_: sure)
    if sure:
        result = evaluate(make(), folder, "few-shot", shots=(2,), draws=1)
    else:
        with pytest.warns(Caution, match="zero-shot is not surely better than chance, 0.3333, so that"):
            result = evaluate(make(), folder, "few-shot", shots=(2,), draws=1)
    assert result.details["zero_shot_above_chance"] == sure
    assert any("surely better than chance" in remark for remark in result.remarks) != sure


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(("option", "value"), [("ablate_prompts", True), ("none_of_these", 0.5)])
def test_what_prompts_give_is_of_accuracy(make: Callable[..., Clip], option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{option} is of accuracy among classes, and these data .* by roc_auc"):
        evaluate(make(), Splits(Listed("both", 0, 1), row=AREA), "zero-shot", **{option: value})


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("shots", (4, "4", (1.5,), (True,), (0,), (), None)),
        ("draws", (2.5, 0, True, "3")),
        ("seed", (1.5, -1, "0")),
        ("none_of_these", ("x", 0, 1, 30, math.nan, True)),
        ("ablate_prompts", (1, "no")),
        ("templates", (5, (), [5], [" "])),
        ("class_names", ((), ("red", ""), ("red", " "), ("red", ()), 5)),
        ("mapping", ({"red": 5}, {"red": "scarlet"}, {"red": []}, 5)),
    ],
)
def test_an_option_of_another_kind_is_refused_with_its_value(option: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(ConfigError, match=option.removesuffix("s")) as problem:
            Options.of({option: value})
        assert repr(value) in str(problem.value)


def test_options_of_the_right_kinds_are_taken(folder: Path) -> None:
    for told in (
        {"shots": [1, 2]},
        {"templates": folder},
        {"templates": ["{}", "a {}"]},
        {"class_names": ["red", ("green", "lime")]},
        {"mapping": {"red": ("scarlet",)}},
        {"mapping": str(folder), "class_names": folder, "none_of_these": 0.3},
    ):
        assert Options.of(told).changed() == told
