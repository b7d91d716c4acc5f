"""What in a plan does not fit together, in sentences that say what to do."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

from diptych.data.memory import LIMIT
from diptych.data.pool import CHUNK
from diptych.specs import ModifiedResNetSpec, SiglipVisionSpec
from diptych.training.optimizer import warmup_problem
from diptych.training.parts import idle_parts
from diptych.training.plan import Plan
from diptych.training.units import size


def warnings_of(plan: Plan) -> list[str]:
    """The worst first: what a run refuses, what it cannot hold, what wastes time, what costs quality."""
    return [*_refused(plan), *_memory(plan), *_parts(plan), *_workers(plan), *_captions(plan), *_quality(plan)]


def _refused(plan: Plan) -> Iterator[str]:
    batch, samples, processes = plan.recipe.batch_size, plan.data.samples, plan.processes
    if batch > samples:
        yield (
            f"batch_size is {batch:,}, but there are {samples:,} samples, which would be in a batch more than once; "
            f"training refuses that: --set batch_size={max(2, samples // 4)} or less"
        )
    if batch % processes:
        near = max(processes, batch - batch % processes)
        yield (
            f"batch_size is {batch:,}, no multiple of the {processes} processes, and training refuses that: "
            f"--set batch_size={near}"
        )


def _memory(plan: Plan) -> Iterator[str]:
    if plan.fits:
        return
    told = f"a step needs {size(plan.memory.peak)} on a device, more than there is, and will fail"
    images = plan.part.images
    micro = (
        images // parts
        for parts in range(2, images + 1)
        if images % parts == 0 and plan.holds(dataclasses.replace(plan.part, in_towers=images // parts))
    )
    powers = [1 << power for power in reversed(range(plan.part.in_towers.bit_length()))]
    batch = (n for n in powers if plan.holds(dataclasses.replace(plan.part, images=n, in_towers=n)))
    if (fitting := next(micro, None)) is not None:
        told += f"; --set micro_batch={fitting} fits, with the same gradient for about a third more time"
    elif (fitting := next(batch, None)) is not None:
        told += f"; --set batch_size={fitting * plan.processes} fits"
    else:
        told += "; even a batch of one image does not fit, so take a smaller model"
    yield told


def _parts(plan: Plan) -> Iterator[str]:
    micro, images = plan.recipe.micro_batch, plan.part.images
    if idle := idle_parts(micro, images):
        yield idle
    elif micro is not None and images % micro:
        yield f"micro_batch ({micro:,}) does not divide a process's {images:,} images; the last part is smaller"
    norms = isinstance(plan.spec.image, ModifiedResNetSpec)
    if norms and plan.part.in_towers < plan.recipe.batch_size:
        yield f"batch norms see {plan.part.in_towers:,} images at a time, not all {plan.recipe.batch_size:,} of a batch"
    image = plan.spec.image
    if isinstance(image, SiglipVisionSpec) and image.image_size % image.patch_size:
        left = image.image_size % image.patch_size
        yield f"patches of {image.patch_size} px do not divide {image.image_size} px; {left} px at an edge are not seen"


def _workers(plan: Plan) -> Iterator[str]:
    data = plan.recipe.data
    workers, cores = data.workers, os.cpu_count() or 1
    chunks = -(-plan.part.images // CHUNK)
    if workers > chunks:
        yield (
            f"{workers - chunks} of {workers} workers of a process have nothing to do: {plan.part.images:,} images are "
            f"{chunks} chunks of {CHUNK}; --set data.workers={chunks}"
        )
    if workers * plan.local_processes > cores:
        yield f"{workers * plan.local_processes} loader workers share {cores} cores of this machine"
    if 1 < plan.data.shards < workers * plan.processes:
        yield (
            f"{plan.data.shards} shards for {workers * plan.processes} workers: several read from one at a time, which "
            "costs nothing on a disk of one's own and time over a network"
        )
    taken = plan.data.samples * min(plan.data.sides[1], 2 * plan.spec.preprocess.size) ** 2 * 3
    if data.in_memory and taken > LIMIT:
        yield (
            f"all images together take {size(taken)} or more, past the {size(LIMIT)} that training allows; "
            "--set data.in_memory=false --set data.workers=2"
        )


def _captions(plan: Plan) -> Iterator[str]:
    data, context = plan.data, plan.spec.text.context_length
    if cut := data.longer_than(context):
        yield f"{cut:.1%} of the captions are longer than the context of {context} tokens and will be cut"
    elif plan.data.tokens and 2 * data.tokens[-1] < context:
        yield (
            f"no caption takes more than {data.tokens[-1]} of the {context} tokens of the context; a shorter one "
            "(model.text.context_length) is a smaller model of equal speed"
        )
    asked, entries = plan.recipe.vocabulary, plan.vocabulary
    if isinstance(asked, int) and entries is not None and entries < asked:
        yield f"the captions teach a vocabulary of {entries:,} entries only, of the {asked:,} asked for"
    if isinstance(asked, str) and entries != plan.recipe.model.text.vocabulary_size:
        yield (
            f"the tokenizer has {entries:,} entries, {plan.recipe.model.name} usually "
            f"{plan.recipe.model.text.vocabulary_size:,}; the text tower will have the tokenizer's"
        )
    if data.captions and data.captions < plan.part.captions:
        yield (
            f"an image has {data.captions:.2g} caption(s) on average, so some of the {plan.part.captions} drawn at a "
            "visit are the same (data.captions_per_image)"
        )


def _quality(plan: Plan) -> Iterator[str]:
    pixels = plan.spec.image.image_size
    if problem := warmup_problem(plan.recipe.optimizer, plan.steps):
        yield problem
    if plan.epochs < 1:
        yield f"the run sees {plan.epochs:.0%} of the data only"
    if 0 < plan.data.sides[1] < pixels:
        yield f"half of the images are smaller than {pixels} px and will be enlarged; a smaller model.image may do"
    if plan.data.unreadable:
        count = len(plan.data.unreadable)
        yield f"{count} of {plan.data.looked_at} samples cannot be used, such as {plan.data.unreadable[0]}"
    yield from plan.data.problems
