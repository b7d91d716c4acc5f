"""Where the numbers of a run are shown besides its own files: TensorBoard, Weights & Biases, MLflow.

A tracker is imported only where a recipe asks for it. One that fails is told once and left out from then on: all its
numbers are in ``metrics.jsonl`` as well.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Protocol

from diptych import config
from diptych.errors import MissingExtra
from diptych.training.folder import write_json
from diptych.training.recipe import Recipe

PROJECT = "diptych"  # what runs are filed under, where a tracker files them
_PACKAGES = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
_IDS = "trackers.json"  # in a run's folder: under which id each tracker knows the run


class Tracker(Protocol):
    """Takes numbers by step, and is closed in the end."""

    def log(self, step: int, metrics: Mapping[str, float], /) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in ``folder/tensorboard``; on resume, those of steps that will be done again are dropped."""

    def __init__(self, folder: Path, first_step: int) -> None:
        self._board = library("tensorboard").SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._board.close()


class WeightsAndBiases:
    """A run of wandb, its files in ``folder``. A resumed run goes on as the same one; steps done again are there twice,
    the later ones last."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        wandb = library("wandb")
        self._run = wandb.init(
            project=PROJECT,
            name=folder.resolve().name,
            id=_known(folder, "wandb", lambda: uuid.uuid4().hex[:8]),
            resume="allow",
            dir=str(folder),
            config=config.to_dict(recipe),
        )
        self._run.define_metric("*", step_metric="step")  # its own count of calls cannot go back

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log({"step": step, **metrics})

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of MLflow, where ``MLFLOW_TRACKING_URI`` says or MLflow's own default is; a resumed one likewise."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        mlflow = library("mlflow")
        self._client, self._metric = mlflow.MlflowClient(), mlflow.entities.Metric
        experiment = mlflow.set_experiment(PROJECT).experiment_id
        name = folder.resolve().name

        def created() -> str:
            run = self._client.create_run(experiment, run_name=name).info.run_id
            self._client.log_dict(run, config.to_dict(recipe), "recipe.json")
            return run

        self._run = _known(folder, "mlflow", created)
        self._client.update_run(self._run, status="RUNNING")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        allowed = {re.sub(r"[^\w\-. /]", "_", name): value for name, value in metrics.items()}  # no @
        self._client.log_batch(
            self._run, metrics=[self._metric(name, value, now, step) for name, value in allowed.items()]
        )

    def close(self) -> None:
        self._client.set_terminated(self._run)


class Trackers:
    """Those that a recipe asks for, as one that never fails. ``say`` is told of the first failure of each."""

    def __init__(self, folder: Path, recipe: Recipe, *, first_step: int, say: Callable[[str], None]) -> None:
        self._say = say
        self._open: dict[str, Tracker] = {}
        makers: dict[str, Callable[[], Tracker]] = {
            "tensorboard": lambda: TensorBoard(folder, first_step),
            "wandb": lambda: WeightsAndBiases(folder, recipe),
            "mlflow": lambda: MLflow(folder, recipe),
        }
        for name in recipe.trackers:
            with self._telling(name):
                self._open[name] = makers[name]()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hand numbers to all that still work."""
        for name, tracker in tuple(self._open.items()):
            with self._telling(name):
                tracker.log(step, metrics)

    def close(self) -> None:
        """Let all of them finish."""
        for name, tracker in tuple(self._open.items()):
            with self._telling(name):
                tracker.close()

    @contextlib.contextmanager
    def _telling(self, name: str) -> Generator[None]:
        try:
            yield
        except MissingExtra:
            raise
        except Exception as problem:  # of other people's servers, disks and versions
            self._open.pop(name, None)
            told = (str(problem) or type(problem).__name__).splitlines()[0]
            self._say(f"{name} failed ({told:.200}); the run goes on without it, its numbers are in metrics.jsonl")


def library(tracker: str) -> ModuleType:
    """The library of a tracker; MissingExtra that names its package where it is not there."""
    package = _PACKAGES[tracker]
    try:
        return importlib.import_module(package)
    except ImportError as problem:
        package = package.removeprefix("torch.utils.")
        raise MissingExtra(
            f"trackers has {tracker!r}, which is not installed: pip install {package} ({problem})"
        ) from problem


def check(trackers: Sequence[str]) -> None:
    """Raise MissingExtra for the first tracker that is not installed, before anything is done."""
    for tracker in trackers:
        library(tracker)


def _known(folder: Path, tracker: str, make: Callable[[], str]) -> str:
    """Under which id a tracker knows the run of a folder; ``make`` gives one to a run that it does not know."""
    path = folder / _IDS
    ids: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError):
        ids = json.loads(path.read_text(encoding="utf-8"))
    if tracker not in ids:
        ids[tracker] = make()
        write_json(path, ids)
    return ids[tracker]
