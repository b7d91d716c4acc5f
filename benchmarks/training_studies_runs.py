"""What `training_studies.py` trains: its runs as recipes, and its drawings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diptych import zoo
from diptych.config import override
from diptych.data.augment import Augmentation
from diptych.data.fingerprint import fingerprint
from diptych.data.sources import Sample, Source, open_source
from diptych.specs import BagOfWordsSpec, CaptionTransformerSpec, ModelSpec, VisionTransformerSpec
from diptych.training import recipes
from diptych.training.losses import LossSpec
from diptych.training.recipe import Recipe

STEPS, BATCH, EVALUATE_EVERY, GROUPS = 800, 64, 50, 4
AUGMENTATION = Augmentation(scale=(0.8, 1.25), aspect=1.1, flip=0.5, colour=0.2, grey=0.1)  # mild: runs are short


def micro() -> ModelSpec:
    return zoo.find("RN-micro").with_image_size(32)


def micro_bag() -> ModelSpec:
    return dataclasses.replace(micro(), text=BagOfWordsSpec(context_length=32, width=128))


def micro_captions() -> ModelSpec:
    return dataclasses.replace(micro(), text=CaptionTransformerSpec(context_length=32, width=128, layers=1, heads=4))


def small_vit() -> ModelSpec:
    image = VisionTransformerSpec(image_size=48, patch_size=8, width=128, layers=2, heads=4)
    spec = zoo.find("RN-micro").with_image_size(64)
    return dataclasses.replace(spec, image=image, preprocess=dataclasses.replace(spec.preprocess, size=48))


@dataclass(frozen=True)
class Choice:
    """What departs from the plain run. Its costs are beside those of ``beside``."""

    model: Callable[[], ModelSpec] = micro
    objective: Literal["contrastive", "bag_of_words", "caption"] = "contrastive"
    changes: tuple[str, ...] = ()
    beside: str = "plain"
    seeds: int = 3


HALF_ADAM = ("precision=bf16", "optimizer.half_statistics=true")
VIT_RATE = "optimizer.learning_rate=1e-3"
# A processor without arithmetic in fp16 takes ten times as long for it, and for convolutions thirty times.
SHORT_VIT = (VIT_RATE, "duration=200 steps")
RUNS = {
    "bag-contrastive": Choice(micro_bag),
    "bag-predicted": Choice(micro_bag, "bag_of_words"),
    "caption": Choice(micro_captions, "caption"),
    "plain": Choice(),
    "sigmoid": Choice(changes=("model.scores=sigmoid",)),
    "bf16": Choice(changes=("precision=bf16",)),
    "half-adam": Choice(changes=HALF_ADAM),
    "half-text": Choice(changes=(*HALF_ADAM, "half_text_weights=true")),
    "vit": Choice(small_vit, changes=(VIT_RATE,), seeds=1),
    "vit-cached": Choice(small_vit, changes=(VIT_RATE, f"micro_batch={BATCH // 4}"), beside="vit", seeds=1),
    "vit-patches": Choice(small_vit, changes=(VIT_RATE, "patch_dropout=0.5"), beside="vit", seeds=1),
    "short-vit": Choice(small_vit, changes=SHORT_VIT, beside="short-vit"),
    "short-vit-bf16": Choice(small_vit, changes=(*SHORT_VIT, "precision=bf16"), beside="short-vit"),
    "short-vit-fp16": Choice(small_vit, changes=(*SHORT_VIT, "precision=fp16"), beside="short-vit"),
}


def recipe_of(name: str, seed: int, data: Path) -> Recipe:
    """ConfigError where this version has no such choice."""
    plain = recipes.small_drawings(str(data / "emoji"))
    choice = RUNS[name]
    recipe = dataclasses.replace(
        plain,
        name=name,
        model=choice.model(),
        objective=choice.objective,
        data=dataclasses.replace(plain.data, captions_per_image=1, augmentation=AUGMENTATION),
        vocabulary=1024,
        duration=f"{STEPS} steps",
        batch_size=BATCH,
        optimizer=dataclasses.replace(plain.optimizer, learning_rate=3e-3, warmup_steps=STEPS // 20, weight_decay=0.1),
        precision="fp32",
        loss=LossSpec(),
        checkpoints=dataclasses.replace(plain.checkpoints, every_steps=STEPS // 4, every_minutes=2.0),
        evaluate_every=EVALUATE_EVERY,
        seed=seed,
    )
    return override(recipe, choice.changes)


class Chosen:
    """Some samples of a source; with names, these are the classes, and the samples one of each."""

    templates = ("{}",)

    def __init__(self, source: Source, indices: list[int], names: list[str] | None = None) -> None:
        self.name, self.class_names = source.name, tuple(names) if names else None
        self._source, self._indices = source, indices

    def __len__(self) -> int:
        return len(self._indices)

    def listing(self) -> Iterator[str]:
        yield from (fingerprint(self._source), repr(self._indices))

    def read(self, i: int, /) -> Sample:
        return self._source.read(self._indices[i])._replace(label=i if self.class_names else None)


def drawings(data: Path) -> tuple[Source, list[Source]]:
    """What is trained on, and what is held out, in groups: one vendor's drawing of every third concept that both have
    drawn."""
    reading = {"split": "train", "captions": ["txt"], "keywords": ["json.keywords.en"], "where": "json.base"}
    source = open_source(data / "emoji", **reading)
    places: dict[str, dict[str, int]] = {}  # by name and vendor
    for i in range(len(source)):
        sample = source.read(i)
        places.setdefault(sample.captions[0], {})[sample.key.partition("-")[0]] = i
    names = sorted(name for name, vendors in places.items() if len(vendors) == 2)[::3]
    held_out = {name: places[name]["twemoji"] for name in names}
    trained_on = sorted(set(range(len(source))) - set(held_out.values()))
    groups = [names[first::GROUPS] for first in range(GROUPS)]
    return Chosen(source, trained_on), [Chosen(source, [held_out[name] for name in group], group) for group in groups]
