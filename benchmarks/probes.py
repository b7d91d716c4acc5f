"""The whole search for a linear probe's penalty beside scikit-learn's: same data and gradient tolerance, one thread.

    python benchmarks/probes.py                                                    # drawn features
    python benchmarks/probes.py --model RUN/model --data ../shared/data/caltech101   # those of a model's image tower

All go through the same search (15 fits, then one on train + validation), in turn, scikit-learn from zero at each
strength as its users run it: once on the features in fp32 as they come, and once in fp64, where it can reach the
tolerance. Prints seconds of processor time and their ratios to ours (medians), how many fits reached the tolerance, and
how ours compare in objective and accuracy to those in fp64, after the refit and at each strength that both tried.
Needs the extra ``eval``.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from diptych.data.sources import open_source, read
from diptych.encoder.subject import ImageSubject
from diptych.evaluation import scikit_learn
from diptych.evaluation.logistic import TOLERANCE
from diptych.evaluation.probes import SOLVERS, Search, Solve, accuracy, search
from diptych.evaluation.split import Labelled, held_out, joined

REFERENCE, AS_GIVEN = "scikit-learn", "scikit-learn, fp32"


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


def as_given(train: Labelled, classes: int | None) -> Solve:
    """Scikit-learn in the features' own precision."""
    features_ND = np.asarray(train.features_ND)
    return lambda strength, _: scikit_learn.fit(features_ND, train.truth, strength, classes=classes)


def timed(solver: str, train: Labelled, validation: Labelled) -> tuple[float, Search]:
    begun = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what did not converge is printed
        found = search(train, validation, solver=solver)
    return time.process_time() - begun, found


def told(solver: str, found: Search, seconds: float, test: Labelled) -> None:
    trials, chosen = found.selection.trials, found.selection.chosen
    share = accuracy(found.probe.scores(test.features_ND), test.truth)
    print(
        f"{solver}: {seconds:.1f} s, strength {chosen.strength:.3g}, validation {chosen.metric:.4f}, test after the "
        f"refit {share:.4f}, {sum(trial.converged for trial in trials)} of {len(trials)} fits converged, "
        f"{sum(trial.iterations for trial in trials)} iterations",
        flush=True,
    )


def compared(ours: Search, theirs: Search) -> None:
    """At each strength that both tried."""
    other = {trial.strength: trial for trial in theirs.selection.trials}
    print("strength  objective       / scikit-learn's  validation  scikit-learn's  iterations  scikit-learn's")
    for one in ours.selection.trials:
        if one.strength in other:
            two = other[one.strength]
            print(
                f"{one.strength:8.2e}  {one.objective:14.6g}  {one.objective / two.objective:14.6f}  "
                f"{one.metric:10.4f}  {two.metric:14.4f}  {one.iterations:10}  {two.iterations:14}"
                f"{'' if one.converged else '  (ours did not converge)'}{'' if two.converged else '  (not converged)'}"
            )


def at_our_choice(ours: Search, theirs: Search, everything: Labelled, test: Labelled) -> None:
    """The refits on train + validation at the strength that we chose."""
    one, two = ours.probe, theirs.probe
    if two.strength != one.strength:
        two = scikit_learn.fit(np.asarray(everything.features_ND, float), everything.truth, one.strength)
    first, second = (accuracy(probe.scores(test.features_ND), test.truth) for probe in (one, two))
    print(
        f"refits at strength {one.strength:.3g}: objective {one.objective / two.objective:.7f} of scikit-learn's, "
        f"gradients {one.gradient:.1e} and {two.gradient:.1e}, test {first:.4f} and {second:.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000, help="of the training split; half as many to validate")
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--model", help="whatever ImageSubject.load takes")
    parser.add_argument("--data", type=Path, help="a classification data set with the splits train and test")
    parser.add_argument("--rounds", type=int, default=1, help="searches by each, in turn")
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
    shape = " x ".join(str(size) for size in train.features_ND.shape)
    print(f"{shape} features, {int(train.truth.max()) + 1} classes, gradient tolerance {TOLERANCE:g}")
    SOLVERS[AS_GIVEN] = as_given
    found: dict[str, Search] = {}
    seconds: dict[str, list[float]] = defaultdict(list)
    with threadpool_limits(1):
        for _ in range(options.rounds):
            for solver in ("diptych", AS_GIVEN, REFERENCE):
                spent, found[solver] = timed(solver, train, validation)
                seconds[solver].append(spent)
                told(solver, found[solver], spent, test)
    for solver in (AS_GIVEN, REFERENCE):
        ratio = np.median(seconds[solver]) / np.median(seconds["diptych"])
        print(f"{solver} takes {ratio:.1f} times as long as diptych")
    at_our_choice(found["diptych"], found[REFERENCE], joined(train, validation), test)
    compared(found["diptych"], found[REFERENCE])


if __name__ == "__main__":
    main()
