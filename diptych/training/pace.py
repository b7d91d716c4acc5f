"""How long training takes on this machine: a few steps of it, really done."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from diptych import distributed
from diptych.data.memory import InMemory
from diptych.data.sources import Sample, Source
from diptych.training import batches
from diptych.training.plan import Plan
from diptych.training.session import Session
from diptych.training.units import duration

TIMED = 3  # steps, after a first one, which is slower
PATIENCE = 60.0  # seconds that these may take together, as far as a smaller batch can tell
_PROBE = 32  # images of each process in that one


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds, data among them, checkpoints and evaluations not.

    images: of a process in the steps that were timed; fewer than the recipe's where those would take too long.
    timed:  a step of so many. step, epoch, run: of the recipe, in proportion.
    samples_per_second: of all processes.
    """

    images: int
    timed: float
    step: float
    epoch: float
    run: float
    samples_per_second: float

    def __str__(self) -> str:
        return (
            f"{duration(self.step)} a step, {duration(self.epoch)} an epoch, {duration(self.run)} the run, at "
            f"{self.samples_per_second:,.3g} samples/s"
        )


def pace(plan: Plan, source: Source) -> Pace:
    """Time a few steps of a plan that fits. Every process that was started with this one calls it; where the plan is
    for more than were started, the exchange between them is not in the figures."""
    images = plan.part.images
    probe = min(images, _PROBE)
    timed = _seconds(plan, source, probe, steps=1)
    if probe < images:
        affordable = int(PATIENCE / (TIMED + 1) / timed * probe)
        probe = max(probe, min(images, affordable))
        timed = _seconds(plan, source, probe, steps=TIMED)
    step = timed * images / probe
    return Pace(
        images=probe,
        timed=timed,
        step=step,
        epoch=step * plan.data.samples / plan.recipe.batch_size,
        run=step * plan.steps,
        samples_per_second=plan.recipe.batch_size / step,
    )


def _seconds(plan: Plan, source: Source, images: int, *, steps: int) -> float:
    """Of a step with so many images on each process, the mean of ``steps`` after the first."""
    batch = images * distributed.world_size()
    some: Source = _Some(source, min(len(source), batch * (steps + 1)))
    if plan.recipe.data.in_memory:
        some = InMemory(some, side=2 * plan.spec.preprocess.size)
    recipe = dataclasses.replace(plan.recipe, batch_size=max(2, batch))
    with tempfile.TemporaryDirectory() as folder:
        session = Session.begin(recipe, Path(folder), lambda: plan.tokenizer, samples=len(some), data="")
        with batches.loader(recipe, some, session.clip) as loader, closing(session.saver):
            own = loader.batches(0, steps + 1, part=distributed.rank(), parts=distributed.world_size())
            session.advance(next(own), plan.steps + steps)
            begun = time.perf_counter()
            for following in own:
                session.advance(following, plan.steps + steps)
            return (time.perf_counter() - begun) / steps


class _Some:
    """The first samples of a source."""

    def __init__(self, source: Source, count: int) -> None:
        self.name, self.class_names, self.templates = source.name, source.class_names, source.templates
        self._source, self._count = source, count

    def __len__(self) -> int:
        return self._count

    def read(self, i: int) -> Sample:
        return self._source.read(i)
