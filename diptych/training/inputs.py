"""The source of a run, and the tokenizer that is read or learned from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from diptych.checkpoints.bundle import read_tokenizer
from diptych.data.mixture import opened
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
