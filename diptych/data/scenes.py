"""Drawn scenes as a source: pairs of picture and caption out of nothing, the same for the same seed.

Some pairs of colour and shape are never shown in training, not even among other things. Whoever knows the colours and
the shapes one by one can still name them: that is what the demo asks.
"""

from __future__ import annotations

from random import Random
from typing import Literal, get_args

import numpy as np
from PIL import Image

from diptych.data.scene_drawing import draw
from diptych.data.scene_grammar import CLASS_NAMES, PAIRS, SEEN, TEMPLATES, UNSEEN, Scene, caption, compose
from diptych.data.sources import Sample
from diptych.errors import ConfigError, DataError, nearest

CAPTIONS = 3  # of each training scene

Split = Literal["train", "held-out", "unseen-pairs", "seen-pairs"]


class Scenes:
    """``count`` scenes of ``size`` pixels square.

    ``train``:        one or several things, each scene with a few captions that leave much unsaid.
    ``held-out``:     the same kind of scenes, others than those of training, with one caption that says everything.
    ``unseen-pairs``: one object of a colour and shape that never go together in training; its class is the pair, among
                      all pairs.
    ``seen-pairs``:   one object of a pair that training shows.

    Raises ConfigError for another split.
    """

    def __init__(self, split: Split, *, count: int, size: int, seed: int = 0) -> None:
        if split not in get_args(Split):
            raise ConfigError(f"there are no scenes called {split!r}; {nearest(split, get_args(Split))}")
        if count < 1 or size < 8:
            raise ConfigError(f"scenes need a count of 1 and a size of 8 or more, not {count} and {size}")
        self.name = f"drawn scenes, {split}"
        self.split, self.count, self.size, self.seed = split, count, size, seed
        classes = split in ("unseen-pairs", "seen-pairs")
        self.class_names: tuple[str, ...] | None = CLASS_NAMES if classes else None
        self.templates: tuple[str, ...] | None = TEMPLATES if classes else None
        self._pairs = UNSEEN if split == "unseen-pairs" else SEEN

    def __len__(self) -> int:
        return self.count

    def read(self, i: int) -> Sample:
        """The scene as pixels, with its captions. Raises DataError past the end."""
        random, scene, label = self._scene(i)
        picture = np.array(draw(scene, random, self.size))
        return Sample(picture, self.captions_of(i), label, f"{self.split} {i}")

    def picture(self, i: int, size: int) -> Image.Image:
        """The same scene at another size, for people to look at."""
        random, scene, _ = self._scene(i)
        return draw(scene, random, size)

    def captions_of(self, i: int) -> tuple[str, ...]:
        """The captions of a scene, without drawing it."""
        _, scene, label = self._scene(i)
        words = Random(f"words {self.split} {self.seed} {i}")
        if label is not None:
            return (CLASS_NAMES[label],)
        if self.split == "held-out":
            return (caption(scene, words, detail=1.0),)
        return tuple(caption(scene, words, detail=0.2) for _ in range(CAPTIONS))

    def _scene(self, i: int) -> tuple[Random, Scene, int | None]:
        if not 0 <= i < self.count:
            raise DataError(f"{self.name}: there is no scene {i} of {self.count}")
        random = Random(f"{self.split} {self.seed} {i}")
        if self.class_names is None:
            return random, compose(random, self._pairs), None
        pair = self._pairs[i % len(self._pairs)]
        return random, compose(random, (pair,), alone=True), PAIRS.index(pair)
