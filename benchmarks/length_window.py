"""What batches of captions of similar length save: tokens in the text tower, and its time, forward and backward.

    python benchmarks/length_window.py SOURCE MERGES [--split train] [--captions json.captions.en] [--batch 128]

The text tower of ``--model`` runs the shorter half of each batch apart from the longer one, as training does. Its time
is processor time on one thread, with and without windows, in turn. Last line: what finding lengths adds for a sample.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import numpy as np
import torch

from diptych.data.buckets import BucketPlan, Buckets
from diptych.data.loader import Loader
from diptych.data.order import Walk
from diptych.data.sources import open_source
from diptych.data.visits import Visits
from diptych.models.clip import create_model
from diptych.text.tokenizer import Tokenizer
from diptych.tokens import Tokens
from diptych.training import recipes

CONTEXT = 77


def cost(lengths: np.ndarray, parts: int) -> float:
    """Tokens that a batch costs for each caption, sorted and cut into parts that run to their own longest."""
    return sum(len(part) * part.max() for part in np.array_split(np.sort(lengths), parts)) / len(lengths)


def step(model: torch.nn.Module, tokens: Tokens) -> float:
    begin = time.process_time()
    order_B = tokens.lengths_B.argsort(stable=True)
    for half in order_B.chunk(2):
        longest = int(tokens.lengths_B[half].max())
        model.encode_text(Tokens(tokens.ids_BL[half, :longest], tokens.lengths_B[half])).sum().backward()
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("merges")
    parser.add_argument("--split")
    parser.add_argument("--captions")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--model", default="small-photographs", help="the recipe whose model it is")
    options = parser.parse_args()
    torch.set_num_threads(1)
    captions = [options.captions] if options.captions else None
    source = open_source(options.source, split=options.split, captions=captions)
    tokenizer = Tokenizer.from_merges(options.merges, context_length=CONTEXT)
    spec = recipes.find(options.model)(options.source).model.with_vocabulary(49_408, tokenizer="clip", padding_id=0)
    spec = replace(spec, text=replace(spec.text, context_length=CONTEXT))
    model = create_model(spec, seed=0)
    rows, draws = np.arange(options.batch * options.steps), np.random.default_rng(0)
    visited = Walk(getattr(source, "shard_sizes", (len(source),)), 0).visited(rows).tolist()
    found = tokenizer([str(draws.choice(source.read(index).captions)) for index in visited])
    lengths = found.lengths_B.numpy()
    print(f"{len(source):,} samples, {lengths.mean():.1f} tokens a caption, the longest {lengths.max()}")
    print(f"{'steps sorted':>14}{'tokens: whole':>15}{'halves':>9}{'8 parts':>9}{'tower ms':>10}{'of 1':>7}")
    plans = {1: rows}
    for window in (2, 4, 8, 16):
        plan = BucketPlan(Buckets(options.batch, window), seed=0)
        plans[window] = plan.positions(rows, lambda positions: lengths[positions])
    times: dict[int, list[float]] = {window: [] for window in plans}
    for number in range(options.steps):
        for window, positions in plans.items():
            batch = positions.reshape(options.steps, -1)[number]
            times[window].append(step(model, Tokens(found.ids_BL[batch], found.lengths_B[batch])))
    plain = statistics.mean(times[1])
    for window, positions in plans.items():
        costs = [
            statistics.mean(cost(lengths[batch], parts) for batch in positions.reshape(options.steps, -1))
            for parts in (1, 2, 8)
        ]
        mean = statistics.mean(times[window])
        print(f"{window:14}{costs[0]:15.1f}{costs[1]:9.1f}{costs[2]:9.1f}{mean * 1e3:10.0f}{mean / plain:7.2f}")
    seconds = {}
    for buckets in (None, Buckets(options.batch, 8)):
        visits = Visits(buckets=buckets)
        load = {"batch_size": options.batch, "tokenizer": tokenizer, "visits": visits, "workers": 0}
        with Loader(source, spec.preprocess, **load) as loader:
            next(loader.batches(8))
            begin = time.process_time()
            for _ in loader.batches(16, 32):
                pass
            seconds[buckets] = time.process_time() - begin
    plain, sorted_ = (value / (16 * options.batch) for value in seconds.values())
    print(f"the loader's time for each sample: {plain * 1e6:.0f} us, and {(sorted_ - plain) * 1e6:.0f} us for lengths")


if __name__ == "__main__":
    main()
