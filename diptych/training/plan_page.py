"""A plan as a page that a newcomer can read."""

from __future__ import annotations

import textwrap

from diptych.training.advice import warnings_of
from diptych.training.memory import Memory
from diptych.training.plan import Plan
from diptych.training.units import operations, size

_COLUMNS = 100

Rows = list[tuple[str, str, str]]


def page(plan: Plan) -> str:
    """Headings, and under each a line of what, how much, and what that is."""
    on = (
        f"{plan.processes} processes, each on a {plan.device}"
        if plan.processes > 1
        else f"one process on {plan.device}"
    )
    sections = {
        f"{plan.recipe.name}: {plan.spec.name} on {plan.data.name}, {on}": [],
        "parameters": _parameters(plan),
        "data": _data(plan),
        "run": _run(plan),
        "operations of one sample (multiplications and additions)": _operations(plan),
        f"memory of one step on each device ({plan.recipe.precision})": _memory(plan),
    }
    rows = [row for section in sections.values() for row in section]
    name_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = []
    for heading, section in sections.items():
        lines += [*([""] if lines else []), heading]
        lines += [f"  {n:{name_width}}  {v:>{value_width}}  {told}".rstrip() for n, v, told in section]
    if warnings := warnings_of(plan):
        lines += ["", "warnings"]
        for warning in warnings:
            lines += textwrap.wrap(warning, _COLUMNS, initial_indent="  - ", subsequent_indent="    ")
    return "\n".join(lines)


def _parameters(plan: Plan) -> Rows:
    context = plan.spec.text.context_length
    entries = f"{plan.spec.text.vocabulary_size:,} entries"
    return [
        ("image tower", f"{plan.parameters['image']:,}", f"{plan.spec.image.kind}, {plan.spec.image.image_size} px"),
        ("text tower", f"{plan.parameters['text']:,}", f"{plan.spec.text.kind}, {context} tokens, {entries}"),
        ("all", f"{plan.parameters['all']:,}", f"embeddings of {plan.spec.embedding:,} numbers"),
    ]


def _data(plan: Plan) -> Rows:
    data = plan.data
    _, median, _, longest = data.words
    shards = f"in {data.shards:,} shards" if data.shards > 1 else ""
    tokens = f"{data.mean_tokens:.1f}"
    return [
        ("samples", f"{data.samples:,}", shards),
        ("captions of an image", f"{data.captions:.2g}", f"of {data.looked_at:,} samples that were looked at"),
        (
            "tokens of a caption",
            tokens,
            f"the longest {max(data.tokens, default=0)}; {median} words, at most {longest}",
        ),
        ("short side of images", f"{data.sides[1]} px", f"from {data.sides[0]} to {data.sides[2]} px"),
    ]


def _run(plan: Plan) -> Rows:
    part, batch = plan.part, plan.recipe.batch_size
    shared = f"{part.images:,} on each process" if plan.processes > 1 else ""
    towers = f"{part.in_towers:,} in the towers at a time" if part.in_towers < part.images else ""
    seen = batch * plan.steps
    total = operations(seen * plan.flops_of_sample)
    return [
        ("batch", f"{batch:,}", ", ".join(filter(None, (shared, towers)))),
        ("steps", f"{plan.steps:,}", f"{plan.data.samples / batch:,.4g} of them an epoch"),
        ("epochs", f"{plan.epochs:,.4g}", ""),
        ("samples seen", f"{seen:,}", f"{seen * part.captions:,} pairs; {total} in all"),
    ]


def _operations(plan: Plan) -> Rows:
    tokens, context = round(plan.data.mean_tokens), plan.spec.text.context_length

    def both(cost_forward: int, cost_backward: int) -> str:
        return f"{operations(cost_forward)} forward, {operations(cost_backward)} backward"

    image, text, longest = plan.image, plan.text, plan.longest_text
    captions = f" and its {plan.part.captions} captions" if plan.part.captions > 1 else " and a caption"
    return [
        ("image", operations(image.both), both(image.forward, image.backward)),
        ("mean caption", operations(text.both), f"of {tokens} tokens: {both(text.forward, text.backward)}"),
        (
            "longest caption",
            operations(longest.both),
            f"of {context} tokens: {both(longest.forward, longest.backward)}",
        ),
        ("sample", operations(plan.flops_of_sample), f"an image{captions}"),
    ]


def _memory(plan: Plan) -> Rows:
    memory: Memory = plan.memory
    recipe, part = plan.recipe, plan.part
    halves = "half of the captions run to {} tokens, half to {}".format(*part.lengths)
    activations = "not known" if memory.activations is None else size(memory.activations)
    learn = ", ".join(
        f"{name} tower: {training.learns}"
        for name, training in (("image", recipe.image_tower), ("text", recipe.text_tower))
        if training.learns != "all"
    )
    there = f"of {size(plan.there)} that there are"
    if plan.device == "cpu" and plan.local_processes > 1:
        there += f", which {plan.local_processes} processes share"
    return [
        ("weights", size(memory.weights), "the text tower's matrices in bf16" if recipe.half_text_weights else ""),
        *([("average", size(memory.average), "of the weights")] if memory.average else []),
        ("optimiser", size(memory.optimizer), "in bf16" if recipe.optimizer.half_statistics else ""),
        ("gradients", size(memory.gradients), learn),
        ("activations", activations, f"of {part.in_towers:,} images; {halves}"),
        ("loss", size(memory.loss), ""),
        ("pixels", size(memory.batch), ""),
        ("together", size(memory.peak), there),
    ]
