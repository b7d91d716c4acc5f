"""Logistic regression by L-BFGS, as the paper's linear probes have it (section 5 and appendix A).

The objective is the sum of cross-entropies + 1/2 strength ||W||^2, the bias not penalised: scikit-learn's, whose C is
1 / strength. Classes exclude each other where truth is one index a sample, (N); where it is 0 or 1 a sample and class,
(N, C), each class is a regression of its own (one against the rest) and the objective is the sum over them. Of two
exclusive classes W is one vector, the difference of their weights, as in scikit-learn.

A fit ends when the largest absolute gradient of the mean objective (divided by N), with respect to any weight or bias
of the features *as given*, is at most ``tolerance``: what scikit-learn counts, at a tenth of its default, which ends
above the optimum by more than 1e-4 of the objective even at strengths that a search chooses. Since the gradient of a
weak penalty is that small far from the optimum, what a Newton step on the curvature's diagonal promises must besides
be at most 1e-6 of the objective; of an image tower's features up to 3e-5 were then left.

Precision: parameters, gradients, sums and the memory of L-BFGS are fp64. Products with the features have the precision
of these (fp32 usually), rotated and centred in fp64 before; losses and residuals are written so that they keep their
relative precision where a probability nears 1. Where fp32 ends before the tolerance is reached, the rest of the fit
multiplies in fp64.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from diptych.errors import Caution, ConfigError
from diptych.evaluation.lbfgs import Minimum, Point, minimise
from diptych.evaluation.linear import Linear
from diptych.evaluation.logistic_problem import Problem, prepare

TOLERANCE = 1e-5
MOST_ITERATIONS = 1000
_PROMISE = 1e-6  # relative to the objective


@dataclass(frozen=True, eq=False)
class Probe(Linear):
    """A fitted regression.

    objective: the sum of cross-entropies + the penalty; gradient: the largest absolute one of the mean objective.
    converged: whether the tolerance was reached; ``evaluations`` counts passes over the features.
    """

    strength: float
    objective: float
    gradient: float
    iterations: int
    evaluations: int
    converged: bool


def solve(
    problem: Problem,
    strength: float,
    *,
    start: Linear | None = None,
    tolerance: float = TOLERANCE,
    most_iterations: int = MOST_ITERATIONS,
) -> Probe:
    """The probe at one strength, from ``start`` on or from what the penalty draws to; ``converged`` tells whether the
    tolerance was reached."""
    if not 0 < strength < float("inf"):
        raise ConfigError(f"the strength of a penalty is above 0, not {strength}")
    parameters_KP = problem.start(start)
    iterations = evaluations = 0
    for dtype in dict.fromkeys((problem.rotation.features_NR.dtype, torch.float64)):
        found = _minimum(problem, strength, dtype, parameters_KP, tolerance, most_iterations - iterations)
        iterations, evaluations = iterations + found.iterations, evaluations + found.evaluations
        parameters_KP = found.point.parameters_CP
        if found.end != "stalled":
            break
    weights_CD, bias_C = problem.original(parameters_KP)
    return Probe(
        weights_CD=weights_CD,
        bias_C=bias_C,
        strength=strength,
        objective=found.point.objective * len(problem.target),
        gradient=problem.steepest(found.point.gradient_CP),
        iterations=iterations,
        evaluations=evaluations,
        converged=found.end == "done",
    )


def fit(
    features_ND: np.ndarray | Tensor,
    truth: np.ndarray | Tensor,
    strength: float,
    *,
    classes: int | None = None,
    start: Linear | None = None,
    tolerance: float = TOLERANCE,
    most_iterations: int = MOST_ITERATIONS,
) -> Probe:
    """``prepare`` and ``solve``, and a warning where the iterations did not suffice.

    >>> fit(np.array([[0.0], [1.0], [2.0]]), np.array([0, 0, 1]), 1.0).scores(np.array([[3.0]])).argmax()
    np.int64(1)
    """
    problem = prepare(features_ND, truth, classes)
    probe = solve(problem, strength, start=start, tolerance=tolerance, most_iterations=most_iterations)
    if not probe.converged:
        warnings.warn(
            f"after {probe.iterations} iterations the probe of strength {strength:g} has a gradient of "
            f"{probe.gradient:.1e} (tolerance {tolerance:g})",
            Caution,
            stacklevel=2,
        )
    return probe


def _minimum(
    problem: Problem, strength: float, dtype: torch.dtype, start_KP: Tensor, tolerance: float, most_iterations: int
) -> Minimum:
    def done(point: Point) -> bool:
        near = point.decrease <= _PROMISE * point.objective  # first, since it is cheap
        return near and problem.steepest(point.gradient_CP) <= tolerance

    return minimise(
        partial(problem.evaluate, strength, dtype),
        start_KP,
        done,
        most_iterations=most_iterations,
        rounding=4 * torch.finfo(dtype).eps,
    )
