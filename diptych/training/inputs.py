"""The samples of a run, and the tokenizer that is read or learned from them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from diptych import distributed
from diptych.checkpoints.vocabulary import read_tokenizer
from diptych.data.memory import InMemory
from diptych.data.mixture import Mixture, opened
from diptych.data.relabelled import Labelled
from diptych.data.sources import Source, captions_of
from diptych.errors import ConfigError, DataError
from diptych.progress import progress, say
from diptych.text.pretrained import AnyTokenizer
from diptych.text.tokenizer import Tokenizer
from diptych.training.recipe import Recipe


def source_of(recipe: Recipe) -> Source:
    """The source that a recipe names, or the mixture of several."""
    data = recipe.data
    source = opened([data, *data.mixture], cache=data.cache, batch_size=recipe.batch_size)
    if len(source) == 1:
        raise DataError(f"{data.source} has one sample only, and two or more are needed: the others are the negatives")
    return source


def samples_of(recipe: Recipe, source: Source | None) -> Source:
    """What a recipe trains on, of ``source`` in place of its own where there is one, with the classes of its head as
    labels. Raises ConfigError where a batch would hold a sample more than once."""
    source = source_of(recipe) if source is None else source
    if recipe.head:
        source = Labelled(source, recipe.head.classes)
    if recipe.batch_size > len(source):
        raise ConfigError(
            f"batch_size is {recipe.batch_size:,}, but {recipe.data.source} has {len(source):,} samples, which "
            f"would be in a batch more than once; --set batch_size={max(2, len(source) // 4)} or less"
        )
    return source


def decoded(source: Source, *, side: int) -> Source:
    """The same samples, their images decoded once and held in memory, with a short side of at most ``side`` pixels."""
    if isinstance(source, Mixture):
        return source.mapped(partial(decoded, side=side))
    if distributed.is_main():
        say(f"decoding {len(source):,} images into memory")
    return InMemory(source, side=side)


def prepare_tokenizer(recipe: Recipe, source: Callable[[], Source]) -> AnyTokenizer:
    """The tokenizer a recipe asks for: one of the model's family read from a path, or one of CLIP's kind learned from
    every caption of the source. Raises ConfigError where there is nothing at the path, TokenizerError for what is."""
    if isinstance(recipe.vocabulary, str):
        if not Path(recipe.vocabulary).exists():
            raise ConfigError(
                f"vocabulary: there is no {recipe.vocabulary!r}; it is a tokenizer's folder or file, or the number of "
                "entries to learn from the captions"
            )
        return read_tokenizer(Path(recipe.vocabulary), recipe.model)
    pairs, family = source(), recipe.model.tokenizer.replace("_", " ")
    instead = "" if family == "clip byte pair" else f"; it is of CLIP's kind, in place of the model's {family}"
    say(f"learning a vocabulary from the captions of {len(pairs):,} samples{instead}")
    indices = progress(range(len(pairs)), "reading captions")
    captions = (caption for index in indices for caption in captions_of(pairs, index))
    context_length = recipe.model.text.context_length
    return Tokenizer.train(captions, vocabulary_size=recipe.vocabulary, context_length=context_length)
