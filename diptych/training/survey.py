"""What a few hundred samples tell of a source: its captions, the sizes of its images, what cannot be read."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from diptych.data.files import check_regular
from diptych.data.preprocess import decode_image
from diptych.data.sources import Sample, Source, naming, read
from diptych.errors import DataError
from diptych.text.pretrained import AnyTokenizer
from diptych.training.recipe import DataSpec

LOOKED_AT = 300  # samples


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Facts of a source; those of captions and images are of ``looked_at`` samples, spread evenly over it.

    shards:     files that it is made of, where it is; else 1.
    captions:   of an image, on average.
    words:      of a caption: the fewest, the median, the 95th of 100, the most.
    tokens:     of each caption, start and end token included and nothing cut, in ascending order.
    sides:      short sides of images in pixels: the shortest, the median, the longest.
    languages:  of captions, as far as the names of their fields say.
    unreadable: of the samples looked at, why. ``problems``: sentences about damaged files.
    """

    name: str
    samples: int
    shards: int
    looked_at: int
    captions: float
    words: tuple[int, ...]
    tokens: tuple[int, ...]
    sides: tuple[int, ...]
    languages: tuple[str, ...]
    unreadable: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def mean_tokens(self) -> float:
        """Of a caption; 0 where none was found."""
        return sum(self.tokens) / max(1, len(self.tokens))

    def longer_than(self, context_length: int) -> float:
        """The share of captions that a context of so many tokens cuts."""
        return sum(length > context_length for length in self.tokens) / max(1, len(self.tokens))

    def halves(self, texts: int, context_length: int) -> tuple[int, int]:
        """Tokens to which the shorter and the longer half of a batch of so many texts run, on average."""
        if not self.tokens:
            return context_length, context_length
        median, longest = np.quantile(self.tokens, (0.5, 1 - 1 / max(2, texts)))
        return min(round(median), context_length), min(round(longest), context_length)


def survey(source: Source, data: DataSpec, tokenizer: AnyTokenizer) -> Survey:
    """Look at a source. Samples that cannot be read are told, not raised."""
    samples, sides, unreadable = [], [], []
    for index in evenly(len(source), LOOKED_AT):
        try:
            sample = read(source, index)
            sides.append(_short_side(sample))
            samples.append(sample)
        except DataError as problem:
            unreadable.append(str(problem))
    captions = [caption for sample in samples for caption in sample.captions]
    return Survey(
        name=source.name,
        samples=len(source),
        shards=len(getattr(source, "shard_sizes", (0,))),
        looked_at=len(samples) + len(unreadable),
        captions=len(captions) / max(1, len(samples)),
        words=_quantiles([len(caption.split()) for caption in captions], (0, 0.5, 0.95, 1)),
        tokens=tuple(sorted(len(tokenizer.encode(caption)) for caption in captions)),
        sides=_quantiles(sides, (0, 0.5, 1)),
        languages=_languages([field for spec in (data, *data.mixture) for field in spec.captions or ()]),
        unreadable=tuple(unreadable),
        problems=tuple(getattr(source, "problems", ())),
    )


def evenly(count: int, most: int) -> range:
    """At most so many of ``count`` places, evenly spread."""
    return range(0, count, max(1, -(-count // most)))


def _short_side(sample: Sample) -> int:
    with naming(sample):
        if not isinstance(sample.image, (bytes, np.ndarray)):
            check_regular(sample.image)
        return min(decode_image(sample.image).size)


def _quantiles(values: list[int], at: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(round(value) for value in np.quantile(values or [0], at))


def _languages(fields: list[str]) -> tuple[str, ...]:
    """Of ``json.captions.en`` its last part, where that looks like the code of a language."""
    codes = (field.rpartition(".")[2] for field in fields if "." in field)
    return tuple(code for code in dict.fromkeys(codes) if re.fullmatch(r"[a-z]{2,3}(-[A-Za-z]+)?", code))
