"""The source of a run, and the tokenizer that is read or learned from it."""

from __future__ import annotations

from pathlib import Path

from diptych.data.mixture import opened
from diptych.data.sources import Source, captions_of
from diptych.progress import progress, say
from diptych.text.tokenizer import Tokenizer
from diptych.training.recipe import Recipe


def source_of(recipe: Recipe) -> Source:
    """The source that a recipe names, or the mixture of several."""
    data = recipe.data
    return opened([data, *data.mixture], cache=data.cache, batch_size=recipe.batch_size)


def prepare_tokenizer(recipe: Recipe, source: Source) -> Tokenizer:
    """The tokenizer a recipe asks for: read from a path, or learned from every caption of the source."""
    context_length = recipe.model.text.context_length
    if isinstance(recipe.vocabulary, int):
        say(f"learning a vocabulary from the captions of {len(source):,} samples")
        indices = progress(range(len(source)), "reading captions")
        captions = (caption for index in indices for caption in captions_of(source, index))
        return Tokenizer.train(captions, vocabulary_size=recipe.vocabulary, context_length=context_length)
    path = Path(recipe.vocabulary)
    from_path = Tokenizer.from_files if path.is_dir() else Tokenizer.from_merges
    return from_path(path, context_length=context_length)
