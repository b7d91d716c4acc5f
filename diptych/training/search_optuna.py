"""Values that Optuna proposes from the trials so far. The table of trials is all it knows, so it resumes with that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from diptych.models.external import library
from diptych.training.search_space import Choice, Dimension, Values
from diptych.training.trials import Trial


def suggest(space: Sequence[Dimension], before: Sequence[Trial], *, seed: int, lowest: bool) -> Values:
    """The values of the next trial by Optuna's default sampler, a tree of Parzen estimators.

    Trials that were stopped or failed count as worse than all that were done. Raises MissingExtra without Optuna.
    """
    optuna = library("optuna", "optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="minimize" if lowest else "maximize", sampler=optuna.samplers.TPESampler(seed=seed)
    )
    distributions = {dimension.path: _distribution(optuna, dimension) for dimension in space}
    states = {"done": optuna.trial.TrialState.COMPLETE}
    for trial in before:
        study.add_trial(
            optuna.trial.create_trial(
                state=states.get(trial.state, optuna.trial.TrialState.PRUNED),
                value=trial.metric,
                params={d.path: _encoded(d, trial.values[d.path]) for d in space},
                distributions=distributions,
            )
        )
    proposed = study.ask(distributions).params
    return {d.path: _decoded(d, proposed[d.path]) for d in space}


def _distribution(optuna: Any, dimension: Dimension) -> Any:
    if isinstance(dimension, Choice):
        return optuna.distributions.CategoricalDistribution([_encoded(dimension, value) for value in dimension.values])
    if dimension.whole:
        return optuna.distributions.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _encoded(dimension: Dimension, value: Any) -> Any:
    return json.dumps(value) if isinstance(dimension, Choice) else value  # lists are no categories


def _decoded(dimension: Dimension, value: Any) -> Any:
    return json.loads(value) if isinstance(dimension, Choice) else dimension.rounded(value)
