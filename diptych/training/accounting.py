"""What a run costs: operations, device-hours, waiting; told at every step and summed in ``out/accounting.json``.

Sums are in the lines of ``metrics.jsonl`` too, so a run that goes on finds those of the step it goes on from, and in
the lines after it what an interruption has cost.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from diptych import distributed
from diptych.data.failures import Failures
from diptych.data.loader import Batch
from diptych.training.accelerators import device_name, peak_flops
from diptych.training.folder import write_json
from diptych.training.outline import cost_of
from diptych.training.skipped import list_of, read_skipped
from diptych.training.watch import read_metrics

if TYPE_CHECKING:
    from diptych.training.session import Session

FILE = "accounting.json"
_SUMS = ("flops", "device_hours")


class Account:
    """Counts the steps of a session from where it stands. All processes have one; the main one's is written.

    Operations are those that images and captions need, forward and backward: neither padding nor what gradient caching
    computes twice. Time is that of steps, data and checkpoints included, evaluations not.
    """

    def __init__(self, session: Session, folder: Path) -> None:
        recipe = session.recipe
        self._flops = cost_of(recipe, session.model.spec)
        self._recipe, self._device, self._folder = recipe, session.device, folder
        self._peak = peak_flops(device_name(session.device), recipe.precision)
        self._towers = Stopwatch(session.device)
        self._waited = 0.0
        self._step = session.step
        self._sums, self._lost = dict.fromkeys(_SUMS, 0.0), []
        self._skipped = {int(index) for index in read_skipped(list_of(folder))}
        if distributed.world_size() > 1:
            self._towers.watch(session.model.image, session.model.text)
        if distributed.is_main():
            self._go_on(folder)

    def waited(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, each with the time that it was waited for noted."""
        following = iter(batches)
        while True:
            begun = time.perf_counter()
            batch = next(following, None)
            self._waited = time.perf_counter() - begun
            if batch is None:
                return
            yield batch

    def step(self, batch: Batch, metrics: Mapping[str, float], failures: Failures) -> dict[str, float]:
        """What is to be added to the metrics of a step.

        flops, device_hours:     of the run so far.
        model_flops_per_second:  of all processes; ``model_flops_utilisation``: as a share of what the devices can do.
        data_wait:               seconds that this process waited for its batch.
        skipped_samples:         that could not be read so far.
        slowest_process:         time for data and the forward pass of the slowest process, over the median; those are
                                 what a process does before it waits for the others.
        """
        self._step += 1
        seconds = self._recipe.batch_size / metrics["samples_per_second"]
        skipped = len(self._skipped | failures.reasons.keys())
        own = [self._of(batch), self._waited + self._towers.read(), skipped]
        rows = torch.tensor([own], dtype=torch.float64, device=self._device)
        costs, busy, skips = distributed.gathered(rows).T.cpu()
        devices, cost = len(costs), costs.sum().item()
        self._sums["flops"] += cost
        self._sums["device_hours"] += devices * seconds / 3600
        told = {
            **self._sums,
            "model_flops_per_second": cost / seconds,
            "data_wait": self._waited,
            "skipped_samples": skips.sum().item(),
        }
        if self._peak:
            told["model_flops_utilisation"] = cost / seconds / self._peak / devices
        if devices > 1:
            told["slowest_process"] = (busy.max() / busy.quantile(0.5)).item()
        return told

    def write(self) -> None:
        """Write ``accounting.json``."""
        if not distributed.is_main():
            return
        recipe = self._recipe
        samples = self._step * recipe.batch_size
        told = {
            "steps": self._step,
            "samples": samples,
            "pairs": samples * recipe.data.captions_per_image,
            **self._sums,
            "device": device_name(self._device),
            "devices": distributed.world_size(),
            "precision": recipe.precision,
            "lost": self._lost,
        }
        write_json(self._folder / FILE, told)

    def _of(self, batch: Batch) -> float:
        lengths = Counter(batch.tokens.lengths_B.tolist() if batch.tokens else ())
        texts = sum(count * self._flops.text(length).both for length, count in lengths.items())
        return float(len(batch.pixels_BCHW) * self._flops.image.both + texts)

    def _go_on(self, folder: Path) -> None:
        """From the sums of the last step that counts; what was done after it, and will be again, is noted as lost.

        That is written before anything is dropped from the metrics, and known again, lest a kill between the two let it
        count twice or not at all.
        """
        self._lost = read_accounting(folder).get("lost", [])
        lines = [line for line in read_metrics(folder / "metrics.jsonl") if "loss" in line]
        kept = [line for line in lines if line["step"] <= self._step]
        if kept:
            self._sums = {name: kept[-1].get(name, 0.0) for name in _SUMS}
        if lines and lines[-1]["step"] > self._step:
            last = lines[-1]
            spent = {name: last.get(name, 0.0) - self._sums[name] for name in _SUMS}
            lost = {"after_step": self._step, "until_step": last["step"], **spent}
            if lost not in self._lost:
                self._lost.append(lost)
            self.write()


def read_accounting(folder: Path) -> dict[str, Any]:
    """What a run's ``accounting.json`` says; nothing where there is none that can be read."""
    try:
        told = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


class Stopwatch:
    """Time that modules take to run forward on a device, without making the device wait."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._begun: Any = None
        self._spans: list[Callable[[], float]] = []

    def watch(self, *modules: nn.Module) -> None:
        """Add the time of these modules from now on."""
        for module in modules:
            module.register_forward_pre_hook(self._begin)
            module.register_forward_hook(self._end)

    def read(self) -> float:
        """Seconds since the last reading."""
        seconds, self._spans = sum(span() for span in self._spans), []
        return seconds

    def _now(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _begin(self, *_: Any) -> None:
        self._begun = self._now()

    def _end(self, *_: Any) -> None:
        begun, ended = self._begun, self._now()
        if self._device.type == "cuda":
            self._spans.append(lambda: begun.elapsed_time(ended) / 1000)
        else:
            self._spans.append(lambda: ended - begun)
