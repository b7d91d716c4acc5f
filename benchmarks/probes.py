"""The whole search for a linear probe's penalty beside scikit-learn's: same data, same tolerance, in turn, one thread.

    python benchmarks/probes.py                                                    # drawn features
    python benchmarks/probes.py --model RUN/model --data ../shared/data/caltech101   # those of a model's image tower

Both go through the same search (15 fits, then one on train + validation) in the features' fp32, scikit-learn from zero
at each strength as its users run it. Prints seconds of processor time, their ratio, and at each strength of the first
seven, which both try, how ours compares in objective. Needs the extra ``eval``.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from diptych.data.sources import open_source, read
from diptych.encoder.subject import ImageSubject
from diptych.evaluation.probes import Search, accuracy, search
from diptych.evaluation.split import Labelled, held_out


def drawn(samples: int, dimensions: int, classes: int, seed: int = 0) -> Labelled:
    """Features as towers have them: variances that fall like 1 / k along hidden axes, class means along the same, a
    mean far from zero, and three dimensions that are several times as large as the others."""
    generator = np.random.default_rng(seed)
    spread_D = np.arange(1, dimensions + 1) ** -0.5
    spread_D /= np.sqrt((spread_D**2).mean())
    axes_DD = np.linalg.qr(generator.standard_normal((dimensions, dimensions)))[0]
    jitter_D = np.exp(0.5 * generator.standard_normal(dimensions))
    means_CD = 0.13 * spread_D * jitter_D * generator.standard_normal((classes, dimensions))
    labels_N = generator.permutation(np.arange(samples) % classes)
    loudness_N1 = np.exp(0.2 * generator.standard_normal((samples, 1)))
    features_ND = means_CD[labels_N] + spread_D * loudness_N1 * generator.standard_normal((samples, dimensions))
    features_ND = 0.4 * features_ND @ axes_DD.T
    centre_D, scale_D = 0.5 * generator.standard_normal(dimensions), np.ones(dimensions)
    scale_D[:3], centre_D[:3] = (6, 4, 3), (10, -7, 4)
    return Labelled((features_ND * scale_D + centre_D).astype(np.float32), labels_N)


def of_model(model: str, data: str, split: str) -> Labelled:
    subject, source = ImageSubject.load(model), open_source(data, split=split)
    features, labels = [], []
    for start in range(0, len(source), 256):
        samples = [read(source, i) for i in range(start, min(start + 256, len(source)))]
        features.append(subject.features([sample.image for sample in samples]))
        labels += [sample.label for sample in samples]
    return Labelled(np.concatenate(features), np.array(labels))


def timed(solver: str, train: Labelled, validation: Labelled) -> tuple[float, Search]:
    begun = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what did not converge is printed
        found = search(train, validation, solver=solver)
    return time.process_time() - begun, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000, help="of the training split; half as many to validate")
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--model", help="whatever ImageSubject.load takes")
    parser.add_argument("--data", type=Path, help="a classification data set with the splits train and test")
    options = parser.parse_args()
    if (options.model is None) != (options.data is None):
        parser.error("--model and --data go together")
    torch.set_num_threads(1)
    if options.model:
        train, validation = held_out(of_model(options.model, str(options.data), "train"), 0.25, 0)
        test = of_model(options.model, str(options.data), "test")
    else:
        everything = drawn(2 * options.samples, options.dimensions, options.classes)
        thirds = np.split(np.arange(2 * options.samples), [options.samples, options.samples * 3 // 2])
        train, validation, test = (everything.take(rows) for rows in thirds)
    print(f"{train.features_ND.shape[0]} x {train.features_ND.shape[1]} features, {int(train.truth.max()) + 1} classes")
    found: dict[str, Search] = {}
    seconds: dict[str, float] = {}
    for solver in ("diptych", "scikit-learn"):
        seconds[solver], found[solver] = timed(solver, train, validation)
        outcome, selection = found[solver], found[solver].selection
        share = accuracy(outcome.probe.scores(test.features_ND), test.truth)
        print(
            f"{solver}: {seconds[solver]:.1f} s, strength {selection.chosen.strength:.3g}, validation "
            f"{selection.chosen.metric:.4f}, test {share:.4f}, iterations "
            f"{sum(trial.iterations for trial in selection.trials)}",
            flush=True,
        )
    print(f"ratio: {seconds['scikit-learn'] / seconds['diptych']:.1f}")
    theirs = {trial.strength: trial for trial in found["scikit-learn"].selection.trials}
    print("strength  objective       / scikit-learn's  validation  scikit-learn's  iterations  scikit-learn's")
    for trial in found["diptych"].selection.trials:
        if trial.strength in theirs:
            other = theirs[trial.strength]
            print(
                f"{trial.strength:8.2e}  {trial.objective:14.6g}  {trial.objective / other.objective:14.6f}  "
                f"{trial.metric:10.4f}  {other.metric:14.4f}  {trial.iterations:10}  {other.iterations:14}"
                f"{'' if other.converged else '  (not converged)'}"
            )


if __name__ == "__main__":
    main()
