"""Linear probes: the strength of the penalty searched on the validation split, then a fit on all (paper, section 5)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from diptych.errors import Caution, ConfigError, DataError, nearest
from diptych.evaluation.linear import Linear
from diptych.evaluation.logistic import Probe, solve
from diptych.evaluation.logistic_problem import prepare
from diptych.evaluation.split import Labelled, held_out, joined
from diptych.progress import progress

Metric = Callable[[np.ndarray, np.ndarray], float]  # of scores (N, C) and truth; more is better
Solve = Callable[[float, Linear | None], Probe]

STEPS_PER_DECADE = 8
LOWEST, HIGHEST = -6, 6  # exponents of ten
_STEPS = (HIGHEST - LOWEST) * STEPS_PER_DECADE
_COARSE = 2 * STEPS_PER_DECADE
HELD_OUT = 0.2
_AHEAD, _BETWEEN = 2, 4  # probes that tell where the next begins: a line ahead, between them a cubic


@dataclass(frozen=True)
class Trial:
    """One strength that was tried: its metric on the validation split, and how the fit on the training split ended."""

    strength: float
    metric: float
    objective: float
    iterations: int
    converged: bool


@dataclass(frozen=True, eq=False)
class Selection:
    """What was tried on a training split, and what a validation split chose.

    trials:  the strongest penalty first. chosen: the one with the best metric, of equals the strongest.
    at_edge: the chosen one is the weakest or strongest of the grid and no other is as good, so that a better one may
             lie beyond.
    probe:   of the training split alone, at the chosen strength.
    """

    trials: tuple[Trial, ...]
    chosen: Trial
    at_edge: bool
    probe: Probe


@dataclass(frozen=True, eq=False)
class Search:
    """A selection, what its metric was measured on, in words, and the probe of training and validation split."""

    selection: Selection
    validation: str
    probe: Probe


def accuracy(scores_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """Share of samples whose class scores higher than every other; ties count against the model."""
    true_N1 = np.take_along_axis(scores_NC, np.asarray(labels_N)[:, None], axis=1)
    return float(((scores_NC >= true_N1).sum(axis=1) == 1).mean())


def search(
    train: Labelled,
    validation: Labelled | None = None,
    metric: Metric = accuracy,
    *,
    classes: int | None = None,
    towards: Linear | None = None,
    solver: str = "diptych",
    seed: int = 0,
) -> Search:
    """``select`` the strength, then refit on train + validation at it.

    validation: without one, a fifth of each class of train is held out, drawn with ``seed``; the result says so.

    Warns, once for all fits, where some did not converge, and where the best lies at the edge.
    Raises ConfigError, DataError, MissingExtra.
    """
    described = f"{0 if validation is None else len(validation.truth)} samples given"
    if validation is None:
        train, validation = held_out(train, HELD_OUT, seed)
        described = f"{len(validation.truth)} samples held out of train, {HELD_OUT:.0%} of each class, seed {seed}"
    classes = _classes(train, validation, classes)
    selection = select(train, validation, metric, classes=classes, towards=towards, solver=solver)
    probe = SOLVERS[solver](joined(train, validation), classes, towards)(selection.chosen.strength, selection.probe)
    _warn(selection, probe)
    return Search(selection, described, probe)


def select(
    train: Labelled,
    validation: Labelled,
    metric: Metric = accuracy,
    *,
    classes: int | None = None,
    towards: Linear | None = None,
    solver: str = "diptych",
) -> Selection:
    """Find the strength among 1e-6 ... 1e6 whose probe of ``train`` has the best metric on ``validation``.

    First seven strengths two decades apart; then the best one's neighbours at half the distance, four times over, to
    eight steps a decade: 15 fits for a grid of 96 steps. Of equal metrics the strongest penalty is taken, since the
    probe that depends least on its training data is the safer guess (the paper does not say).

    metric: any function of scores (N, C) and truth; accuracy by default.
    towards: weights that the penalty draws to in place of zeros, such as zero-shot ones: the strongest penalty then
            leaves them as they are, and the fits begin there.
    solver: ``diptych``, or ``scikit-learn`` as the reference (extra ``eval``), each fit from zero.

    Raises ConfigError, DataError, MissingExtra.
    """
    if solver not in SOLVERS:
        raise ConfigError(f"there is no solver {solver!r}; {nearest(solver, SOLVERS)}")
    solve_at = SOLVERS[solver](train, _classes(train, validation, classes), towards)
    probes, trials = _trials(solve_at, validation, metric)
    best = _best(trials)
    ordered = tuple(trials[number] for number in sorted(trials, reverse=True))
    alone = sum(trial.metric == trials[best].metric for trial in ordered) == 1
    return Selection(ordered, trials[best], alone and best in (0, _STEPS), probes[best])


def strength_of(number: int) -> float:
    """The strength of a step of the grid: 0 is 1e-6, 96 is 1e6."""
    return 10.0 ** (LOWEST + number / STEPS_PER_DECADE)


def _trials(solve: Solve, validation: Labelled, metric: Metric) -> tuple[dict[int, Probe], dict[int, Trial]]:
    probes: dict[int, Probe] = {}
    trials: dict[int, Trial] = {}

    def attempt(number: int, begin: Linear | None) -> None:
        probe = solve(strength_of(number), begin)
        value = float(metric(probe.scores(validation.features_ND), validation.truth))
        if np.isnan(value):
            raise DataError(f"the metric of the validation split is no number at a strength of {probe.strength:g}")
        probes[number] = probe
        trials[number] = Trial(probe.strength, value, probe.objective, probe.iterations, probe.converged)

    # From strong to weak: a strong penalty's optimum is near what it draws to, and each begins where those before lead.
    for number in progress(range(_STEPS, -1, -_COARSE), "probe, decades of the penalty", unit="fit"):
        attempt(number, _predicted(probes, number, _AHEAD) if probes else None)
    spacing = _COARSE // 2
    while spacing:
        best = _best(trials)
        for number in progress((best + spacing, best - spacing), f"probe, around {strength_of(best):g}", unit="fit"):
            if 0 <= number <= _STEPS:
                attempt(number, _predicted(probes, number, _BETWEEN))
        spacing //= 2
    return probes, trials


def _best(trials: dict[int, Trial]) -> int:
    """The step of the grid with the best metric; of equals the highest, that is the strongest penalty."""
    return max(trials, key=lambda number: (trials[number].metric, number))


def _predicted(probes: dict[int, Probe], number: int, points: int) -> Linear:
    """Near the optimum at a step of the grid: what a polynomial of the step through the nearest probes has there."""
    steps = sorted(probes, key=lambda step: abs(step - number))[:points]
    shares = [math.prod((number - other) / (step - other) for other in steps if other != step) for step in steps]
    with np.errstate(invalid="ignore"):  # of a class that no sample has, whose bias is infinite
        return Linear(
            np.sum([share * probes[step].weights_CD for share, step in zip(shares, steps, strict=True)], axis=0),
            np.sum([share * probes[step].bias_C for share, step in zip(shares, steps, strict=True)], axis=0),
        )


def _classes(train: Labelled, validation: Labelled, classes: int | None) -> int | None:
    if classes is not None or train.truth.ndim != 1:
        return classes
    return int(max(train.truth.max(), validation.truth.max())) + 1


def _warn(selection: Selection, probe: Probe) -> None:
    fits = [*selection.trials, probe]
    if unfinished := [fit for fit in fits if not fit.converged]:
        strengths = ", ".join(f"{strength:g}" for strength in sorted({fit.strength for fit in unfinished}))
        warnings.warn(
            f"{len(unfinished)} of {len(fits)} fits did not reach the tolerance in "
            f"{max(fit.iterations for fit in unfinished)} iterations, those of strength {strengths}",
            Caution,
            stacklevel=3,
        )
    if selection.at_edge:
        warnings.warn(
            f"the best strength, {selection.chosen.strength:g}, lies at the edge of what was searched; a better one "
            "may lie beyond",
            Caution,
            stacklevel=3,
        )


def _diptych(train: Labelled, classes: int | None, towards: Linear | None) -> Solve:
    problem = prepare(train.features_ND, train.truth, classes, towards)
    return lambda strength, start: solve(problem, strength, start=start)


def _scikit_learn(train: Labelled, classes: int | None, towards: Linear | None) -> Solve:
    from diptych.evaluation.scikit_learn import fit

    if towards is not None:
        raise ConfigError("scikit-learn's penalty draws weights to zero alone; the solver diptych draws them elsewhere")
    features_ND = train.features_ND.cpu().numpy() if isinstance(train.features_ND, Tensor) else train.features_ND
    features_ND = features_ND.astype(float)  # in fp32 it ends above the tolerance, and does not say so
    return lambda strength, _: fit(features_ND, train.truth, strength, classes=classes)


SOLVERS: dict[str, Callable[[Labelled, int | None, Linear | None], Solve]] = {
    "diptych": _diptych,
    "scikit-learn": _scikit_learn,
}
