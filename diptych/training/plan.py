"""The dry run: what a recipe will take and what does not fit, told before any of it is taken.

Weights and activations are shapes here (`memory`, `flops`); what is read is a few hundred samples, and the captions
from which a vocabulary is learned.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from diptych import distributed
from diptych.data.sources import Source, captions_of
from diptych.encoder.loading import default_device
from diptych.errors import ConfigError
from diptych.models.flops import Cost
from diptych.specs import CaptionTransformerSpec, ModelSpec
from diptych.text.pretrained import AnyTokenizer
from diptych.text.tokenizer import Tokenizer
from diptych.training.inputs import prepare_tokenizer, source_of
from diptych.training.memory import Footprint, Memory, Part, footprint, there_is
from diptych.training.outline import cost_of, parameters_of
from diptych.training.recipe import Recipe
from diptych.training.start import its_tokenizer, read_start
from diptych.training.survey import Survey, evenly, survey

LEARNED_FROM = 20_000  # samples; the captions of so many tell how long tokenized captions are


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will take; printed, it is a page.

    spec:        the model with the vocabulary that it will have. ``vocabulary``: how many entries captions have taught,
                 or the tokenizer read has; None where only some captions were read, from which ``tokenizer`` is.
    parameters:  of each tower, and of all.
    image, text, longest_text: operations of one image, of a caption of mean length, of one as long as the context.
    footprint:   what a step's memory is made of. ``there``: bytes that a device has, which on a processor is for all
                 processes of this machine.
    device:      its kind, and how many processes train and how many of them on this machine.
    steps, epochs: of the whole run.
    """

    recipe: Recipe
    spec: ModelSpec
    tokenizer: AnyTokenizer
    vocabulary: int | None
    data: Survey
    device: str
    processes: int
    local_processes: int
    part: Part
    parameters: dict[str, int]
    image: Cost
    text: Cost
    longest_text: Cost
    footprint: Footprint
    there: int
    steps: int
    epochs: float

    @property
    def memory(self) -> Memory:
        """Of a step, on each device."""
        return self.footprint.of(self.part)

    @property
    def fits(self) -> bool:
        """Whether this machine has the memory that a step takes."""
        return self.holds(self.part)

    @property
    def runs(self) -> bool:
        """Whether the run can be done on this machine at all."""
        allowed = self.recipe.batch_size % self.processes == 0 and self.recipe.batch_size <= self.data.samples
        return allowed and self.fits

    def holds(self, part: Part) -> bool:
        """Whether it has the memory for another part of a batch in each process."""
        sharing = self.local_processes if self.device == "cpu" else 1
        return self.footprint.of(part).peak * sharing <= self.there

    @property
    def flops_of_sample(self) -> int:
        """Of one image and its captions, forward and backward."""
        return self.image.both + self.part.captions * self.text.both

    def __str__(self) -> str:
        from diptych.training.plan_page import page

        return page(self)


def plan(recipe: Recipe, *, source: Source | None = None, processes: int | None = None) -> Plan:
    """What ``recipe`` will take, each of ``processes`` on a device of this machine's kind.

    ``source`` replaces the recipe's own, as in ``train``. ``processes``: by default as many as torchrun, or whoever set
    ``WORLD_SIZE``, says.
    """
    if isinstance(recipe.model.text, CaptionTransformerSpec):
        raise ConfigError(f"{recipe.name} writes captions; a dry run is of models with two towers")
    source = source_of(recipe) if source is None else source
    processes = processes or int(os.environ.get("WORLD_SIZE", "1"))
    local = min(processes, int(os.environ.get("LOCAL_WORLD_SIZE", processes)))
    tokenizer, whole = distributed.agreed(lambda: _tokenizer(recipe, source))
    vocabulary = tokenizer.vocabulary_size if whole or not isinstance(recipe.vocabulary, int) else recipe.vocabulary
    spec = recipe.model.with_vocabulary(vocabulary, tokenizer=tokenizer.family, padding_id=tokenizer.pad_id)
    data = survey(source, recipe.data, tokenizer)
    context = spec.text.context_length
    images = max(1, recipe.batch_size // processes)
    captions = recipe.data.captions_per_image
    in_towers = min(images, recipe.micro_batch or images)
    lengths = data.halves(in_towers * captions, context)
    part = Part(images=images, captions=captions, in_towers=in_towers, lengths=lengths, processes=processes)
    device = default_device()
    operations = cost_of(recipe, spec)
    steps = recipe.steps(len(source))
    return Plan(
        recipe=recipe,
        spec=spec,
        tokenizer=tokenizer,
        vocabulary=tokenizer.vocabulary_size if whole else None,
        data=data,
        device=device.type,
        processes=processes,
        local_processes=local,
        part=part,
        parameters=parameters_of(spec),
        image=operations.image,
        text=operations.text(min(context, max(1, round(data.mean_tokens)))),
        longest_text=operations.text(context),
        footprint=footprint(recipe, spec, part, device=device.type),
        there=there_is(device),
        steps=steps,
        epochs=steps * recipe.batch_size / len(source),
    )


def _tokenizer(recipe: Recipe, source: Source) -> tuple[AnyTokenizer, bool]:
    """The tokenizer that the run will have, or one learned from some of its captions; and whether it is that one."""
    if recipe.start.takes("text"):
        bundle = read_start(recipe.model, recipe.start, recipe.vocabulary)
        return its_tokenizer(bundle, recipe.start, recipe.vocabulary), True
    if not isinstance(recipe.vocabulary, int) or len(source) <= LEARNED_FROM:
        return prepare_tokenizer(recipe, lambda: source), True
    some = (caption for index in evenly(len(source), LEARNED_FROM) for caption in captions_of(source, index))
    context = recipe.model.text.context_length
    return Tokenizer.train(some, vocabulary_size=recipe.vocabulary, context_length=context), False
