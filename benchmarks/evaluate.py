"""Zero-shot classification of a CLIP_benchmark folder beside CLIP_benchmark: the same numbers, and what they cost.

    .venv-parity/bin/python benchmarks/evaluate.py MODEL ../shared/data/caltech101     # after make parity

MODEL is a folder that both open (OpenCLIP's form, which that of every model trained here is). In turn, each as often as
``--repeats`` says: CLIP_benchmark's own functions, with as many loader workers as there are processors, but no more
than shards, since webdataset refuses others; ours; and ours once more with other templates where the embeddings were
kept. Prints seconds and their ratios to ours (medians), images a second, and both tools' metrics, which must agree.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from open_clip_baseline import import_open_clip

import diptych
from diptych.evaluation.tasks import evaluate

THEIRS, OURS, AGAIN = "CLIP_benchmark", "Diptych", "Diptych, other templates"
METRICS = ("acc1", "acc5", "mean_per_class_recall")


class ClipBenchmark:
    """CLIP_benchmark's zero-shot evaluation of OpenCLIP's reading of a model."""

    def __init__(self, model: str) -> None:
        import_open_clip()
        import open_clip

        place = f"local-dir:{model}"
        self.clip, _, self.transform = open_clip.create_model_and_transforms(place)
        self.clip.eval()
        self.tokenizer = open_clip.get_tokenizer(place)

    def __call__(self, folder: str) -> dict[str, float]:
        from clip_benchmark.datasets.builder import build_wds_dataset, get_dataset_collate_fn
        from clip_benchmark.metrics import zeroshot_classification

        data = build_wds_dataset("wds/test", self.transform, split="test", data_dir=folder)
        batches = data.batched(64, collation_fn=get_dataset_collate_fn("imagenet1k"))
        workers = min(os.cpu_count() or 1, len(list(Path(folder, "test").glob("*.tar"))))
        loader = torch.utils.data.DataLoader(batches, batch_size=None, num_workers=workers)
        weights = zeroshot_classification.zero_shot_classifier(
            self.clip, self.tokenizer, data.classes, data.templates, "cpu", amp=False
        )
        logits_NC, target_N = zeroshot_classification.run_classification(self.clip, weights, loader, "cpu", amp=False)
        # Its own ``accuracy`` makes numbers of arrays in a way that NumPy 2 refuses; the rest is as its ``evaluate``.
        ranked_NC = logits_NC.argsort(dim=1, descending=True)
        hits = {k: (ranked_NC[:, :k] == target_N[:, None]).any(dim=1).double().mean().item() for k in (1, 5)}
        recall = zeroshot_classification.balanced_accuracy_score(target_N, ranked_NC[:, 0])
        return {"acc1": hits[1], "acc5": hits[5], "mean_per_class_recall": recall}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    theirs, clip = ClipBenchmark(asked.model), diptych.load(asked.model)
    seconds: dict[str, list[float]] = {THEIRS: [], OURS: [], AGAIN: []}
    samples = 0

    def timed(name: str, work: Callable[[], object]) -> object:
        begun = time.perf_counter()
        found = work()
        seconds[name].append(time.perf_counter() - begun)
        return found

    for _ in range(asked.repeats):
        expected = timed(THEIRS, lambda: theirs(asked.data))
        with tempfile.TemporaryDirectory() as folder:
            kept = Path(folder)
            found = timed(OURS, lambda kept=kept: evaluate(clip, asked.data, "zero-shot", folder=kept))
            timed(AGAIN, lambda kept=kept: evaluate(clip, asked.data, "zero-shot", folder=kept, templates="photo"))
        samples = found.samples
    print(f"{samples} images, {asked.threads} threads, {asked.repeats} times each, in turn\n")
    base = statistics.median(seconds[OURS])
    print("| | seconds | ratio to Diptych | images a second |\n|---|---|---|---|")
    for name, own in seconds.items():
        middle, spread = statistics.median(own), f"{min(own):.1f} to {max(own):.1f}"
        print(f"| {name} | {middle:.1f} ({spread}) | {middle / base:.2f} | {samples / middle:.0f} |")
    print("\n| | " + " | ".join(METRICS) + " |\n|---" + "|---" * len(METRICS) + "|")
    for name, values in ((THEIRS, expected), (OURS, found.metrics)):
        print(f"| {name} | " + " | ".join(f"{values[metric]:.6f}" for metric in METRICS) + " |")


if __name__ == "__main__":
    main()
