"""Limited-memory BFGS of a convex function of a matrix, from a diagonal that the function tells of its curvature."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

HISTORY = 10  # pairs of step and change of the gradient, as many as scikit-learn's solver keeps
_ENOUGH = 1e-4  # of the decrease that the slope promises (Armijo)
_FLATTER = 0.9  # share of the slope that may be left (Wolfe)
_SHORTENED = 25  # times that a step is shortened before rounding is held to be the reason
_PATIENCE = 30  # steps told by slopes alone, without a lower promise, before rounding is held to be the reason
_LEAST_CURVATURE = 1e-12  # of a class whose probabilities are all 0 or 1


@dataclass(frozen=True, eq=False)
class Point:
    """Parameters (C, P), with the function's value, gradient (C, P) and about the diagonal of its Hessian (C, P)."""

    parameters_CP: Tensor
    objective: float
    gradient_CP: Tensor
    curvature_CP: Tensor

    @property
    def decrease(self) -> float:
        """What a Newton step on the diagonal promises to take off the objective."""
        return 0.5 * float((self.gradient_CP.square() / self.curvature_CP.clamp(min=_LEAST_CURVATURE)).sum())


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where the search ended, and why: ``done``, or ``stalled`` where rounding hid any decrease, or ``cut off``."""

    point: Point
    iterations: int
    evaluations: int
    end: Literal["done", "stalled", "cut off"]


def minimise(
    evaluate: Callable[[Tensor], Point],
    start_CP: Tensor,
    done: Callable[[Point], bool],
    *,
    most_iterations: int,
    rounding: float,
) -> Minimum:
    """Go down until ``done``, or for ``most_iterations``.

    The diagonal of each point, times one factor from the last step, stands where plain L-BFGS has the factor alone, so
    that directions in which the function bends a million times less are no slower. A step of one is tried first and
    nearly always right, so that an iteration is one evaluation.

    rounding: relative error of the objective, below which a decrease cannot be told.
    """
    point, evaluations = evaluate(start_CP), 1
    pairs: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=HISTORY)
    lowest, waited = point.decrease, 0
    for iteration in range(most_iterations + 1):
        if done(point):
            return Minimum(point, iteration, evaluations, "done")
        if iteration == most_iterations:
            break
        found, tried = _step(evaluate, point, _direction(point, pairs), rounding)
        evaluations += tried
        if found is None and pairs:  # what was remembered may mislead; the diagonal alone does not
            pairs.clear()
            found, tried = _step(evaluate, point, _direction(point, pairs), rounding)
            evaluations += tried
        if found is None or waited > _PATIENCE:
            return Minimum(point, iteration, evaluations, "stalled")
        step_CP = found.parameters_CP - point.parameters_CP
        change_CP = found.gradient_CP - point.gradient_CP
        along = float((step_CP * change_CP).sum())
        if along > 0:
            pairs.append((step_CP, change_CP, along))
        if found.decrease < lowest:
            lowest, waited = found.decrease, 0
        elif found.objective >= point.objective - rounding * abs(point.objective):
            waited += 1
        point = found
    return Minimum(point, most_iterations, evaluations, "cut off")


def _direction(point: Point, pairs: deque[tuple[Tensor, Tensor, float]]) -> Tensor:
    curvature_CP = point.curvature_CP.clamp(min=_LEAST_CURVATURE)
    direction_CP, weights = point.gradient_CP.clone(), []
    for step_CP, change_CP, along in reversed(pairs):
        weight = float((step_CP * direction_CP).sum()) / along
        direction_CP.sub_(change_CP, alpha=weight)
        weights.append(weight)
    direction_CP /= curvature_CP
    if pairs:
        _, change_CP, along = pairs[-1]
        direction_CP *= along / float((change_CP.square() / curvature_CP).sum())
    for (step_CP, change_CP, along), weight in zip(pairs, reversed(weights), strict=True):
        direction_CP.add_(step_CP, alpha=weight - float((change_CP * direction_CP).sum()) / along)
    return direction_CP.neg_()


def _step(
    evaluate: Callable[[Tensor], Point], point: Point, direction_CP: Tensor, rounding: float
) -> tuple[Point | None, int]:
    """The next point along a direction, or None where there is no lower one that can be told from this."""
    slope = float((point.gradient_CP * direction_CP).sum())
    if not slope < 0:
        return None, 0
    unsure = rounding * abs(point.objective)
    length = 1.0
    for tried in range(1, _SHORTENED + 1):
        found = evaluate(point.parameters_CP + length * direction_CP)
        excess = found.objective - point.objective - length * slope
        if -slope > unsure and excess <= (_ENOUGH - 1) * length * slope:
            return found, tried
        # Where values are equal but for rounding, slopes still tell on which side of the valley one is.
        flatter = abs(float((found.gradient_CP * direction_CP).sum())) <= _FLATTER * -slope
        if flatter and found.objective <= point.objective + unsure:
            return found, tried
        best = -slope * length**2 / (2 * excess) if excess < float("inf") else 0.0  # of the parabola through both
        length = min(max(best, 0.1 * length), 0.5 * length)
    return None, _SHORTENED
