"""The training loop: recipe in, run folder and bundle out.

out/recipe.json        the resolved recipe
out/metrics.jsonl      one line a step, and one an evaluation
out/tensorboard/       the same for TensorBoard
out/accounting.json    samples, operations and device-hours so far
out/checkpoints/       the last few checkpoints, each a bundle that ``diptych.load`` opens
out/model/             the finished bundle, with a model card
out/classifier.npz     and the classifier, where the recipe has a head
out/data-card.md       what is known of the data
out/skipped.json       samples that could not be read, and why
out/.lock              which process trains here
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from diptych import distributed
from diptych.checkpoints.folder import sweep
from diptych.data.fingerprint import fingerprint
from diptych.data.loader import Loader
from diptych.data.sources import Source
from diptych.encoder.captioner import Captioner
from diptych.encoder.clip import Clip
from diptych.errors import CheckpointError, ConfigError, DataError, DiptychError, TrainingError
from diptych.progress import say
from diptych.training import batches, state, trackers
from diptych.training.accounting import Account
from diptych.training.cards import add_intervals
from diptych.training.data_card import write_data_card
from diptych.training.folder import changing, claim, occupied
from diptych.training.inputs import decoded, prepare_tokenizer, samples_of
from diptych.training.interrupt import Interrupt
from diptych.training.optimizer import warmup_problem
from diptych.training.parts import idle_parts
from diptych.training.recipe import Recipe
from diptych.training.session import Evaluator, Session
from diptych.training.skipped import list_skipped
from diptych.training.survey import survey
from diptych.training.trained import Trained
from diptych.training.watch import Quiet, Watch

PROBLEMS_TOLD = 5  # damaged files that are named before the first step; all of them are in the end
_GO_ON, _SAVE, _STOP, _FAILED = 0, 1, 2, 3  # what is to be done after a step, the stronger the higher


@dataclass(frozen=True)
class Run:
    """What ``train`` gives back. ``finished`` is false after Ctrl-C or SIGTERM: resume goes on from ``step``.
    ``interrupted``: whether one of these came, be it in the last step."""

    folder: Path
    step: int
    steps: int
    trained: Trained
    interrupted: bool = False

    @property
    def clip(self) -> Clip:
        """The model; ConfigError where it writes captions and is no CLIP."""
        if isinstance(self.trained, Captioner):
            raise ConfigError(f"{self.trained.spec.name} writes captions and is no CLIP; take run.trained")
        return self.trained

    @property
    def finished(self) -> bool:
        """Whether every step of the recipe was done."""
        return self.step == self.steps


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    evaluators: Mapping[str, Evaluator] | None = None,
    source: Source | None = None,
) -> Run:
    """Train a model as ``recipe`` says and leave everything in the folder ``out``.

    ``resume`` goes on from the last checkpoint in ``out``; with none there it begins. On the same machine, with as many
    threads, that is bit for bit.
    ``evaluators`` get what is trained every ``recipe.evaluate_every`` steps and at the end, and return named numbers.
    ``source`` replaces the one that ``recipe.data.source`` names, for pairs that exist in memory only.
    Raises TrainingError, also where another process trains in ``out``, NonFiniteLoss or TooManyFailures; the last
    checkpoint is then still whole, and where the data, an evaluation or a log failed it is of the last step.
    """
    folder = Path(out)
    trackers.check(recipe.trackers)
    source = samples_of(recipe, source)
    with distributed.started(), ExitStack() as held:
        if recipe.batch_size % distributed.world_size():
            raise ConfigError(
                f"batch_size is {recipe.batch_size:,}, no multiple of the {distributed.world_size()} processes"
            )

        def take_over() -> None:
            held.enter_context(occupied(folder))
            with changing(folder):
                claim(folder, recipe, resume=resume)
                state.sweep(folder / "checkpoints")
                sweep(folder / "model")

        distributed.agreed(take_over)
        return _run(recipe, folder, source, evaluators or {})


def _run(recipe: Recipe, folder: Path, source: Source, evaluators: Mapping[str, Evaluator]) -> Run:
    @cache
    def samples() -> Source:  # decoded when the rest is known to be right, since that takes its time
        return decoded(source, side=2 * recipe.model.preprocess.size) if recipe.data.in_memory else source

    session = Session.begin(
        recipe,
        folder,
        tokenizer=lambda: distributed.agreed(lambda: prepare_tokenizer(recipe, samples)),
        samples=len(source),
        data=fingerprint(source),
    )
    steps = recipe.steps(len(source))
    _tell_what_is_odd(session, steps)
    account = Account(session, folder)  # sees what the watch drops of the metrics
    with (
        closing(session.saver),
        closing(_watch(session, steps)) as watch,
        batches.loader(recipe, samples(), session.clip) as loader,
        Interrupt() as interrupt,
    ):
        for problem in getattr(source, "problems", ())[:PROBLEMS_TOLD]:
            watch.say(problem)
        try:
            _go(session, account, loader, watch, interrupt, evaluators)
            distributed.wait()  # until the main process has written everything
        except (DataError, OSError):
            # Of the data, a worker, an evaluation or a log, and so between two steps: what was done is sound.
            if distributed.world_size() == 1:  # else the others have gone on, and cannot save with this one
                _keep(session, watch)
            raise
        except CheckpointError as problem:  # the finished model could not be written, on a full disk say
            then = f"; resume (--resume) goes on from {session.saver.last}" if session.saver.last else ""
            raise CheckpointError(f"{problem}{then}") from problem
        except RuntimeError as problem:
            if not distributed.is_loss(problem):
                raise
            session.saver.close(lost=True)
            said = f"process {distributed.rank()} has lost another one, which ended or does not answer"
            then = f"; resume (--resume) goes on from {session.saver.last}" if session.saver.last else ""
            raise TrainingError(f"{said}{then} ({_first_sentence(problem)})") from problem
        finally:
            list_skipped(folder, loader, watch.say)
        if session.step == steps and distributed.is_main():
            _describe(session, source, watch)
    return Run(folder, session.step, steps, session.finished_clip(), interrupt.asked)


def _watch(session: Session, steps: int) -> Watch | Quiet:
    if not distributed.is_main():
        return Quiet()
    return Watch(session.folder, session.recipe, first_step=session.step, steps=steps)


def _tell_what_is_odd(session: Session, steps: int) -> None:
    if not distributed.is_main():
        return
    if 0 < session.step < steps:
        say(f"going on after step {session.step} of {steps}")
    recipe = session.recipe
    if problem := warmup_problem(recipe.optimizer, steps):
        say(problem)
    if idle := idle_parts(recipe.micro_batch, recipe.batch_size // distributed.world_size()):
        say(idle)


def _go(
    session: Session,
    account: Account,
    loader: Loader,
    watch: Watch | Quiet,
    interrupt: Interrupt,
    evaluators: Mapping[str, Evaluator],
) -> None:
    """All steps that are left, or as many as are done when somebody asks to stop, with all that is due after each."""
    steps = session.recipe.steps(session.samples)

    def evaluation_due() -> bool:
        return bool(evaluators) and (session.step == steps or session.step % session.recipe.evaluate_every == 0)

    def evaluate() -> None:
        watch.evaluation(session.step, session.evaluate(evaluators))

    def agreed(wish: int) -> int:  # all processes do the same after a step: what any of them wishes most
        wish = _FAILED if session.saver.failed else _STOP if interrupt.asked else wish
        return distributed.highest(wish, session.device)

    if session.step == steps:  # killed before the model was written, perhaps
        session.finish()
    if session.step and evaluation_due() and not distributed.from_main(lambda: watch.evaluated):
        evaluate()  # killed between a checkpoint and its evaluation
    own = loader.batches(session.step, steps, part=distributed.rank(), parts=distributed.world_size())
    for batch in account.waited(own):
        metrics = session.advance(batch, steps)
        watch.step(session.step, metrics | account.step(batch, metrics, loader.failures))
        wish = agreed(_SAVE if session.step == steps or session.checkpoint_due() else _GO_ON)
        if wish == _FAILED:
            session.saver.wait()
            raise TrainingError("a checkpoint could not be written; the process that was to write it says why")
        with interrupt.saving():
            if wish != _GO_ON:
                session.save()
                account.write()
            if session.step == steps:
                session.saver.wait()  # of a disk's last bytes the checkpoint has more need
                session.finish()  # before an evaluation that may fail
        if evaluation_due():
            evaluate()
            wish = max(wish, agreed(_GO_ON))
        if wish == _STOP:
            with interrupt.saving():
                session.save()
                session.saver.wait()
                account.write()
            break
    session.saver.wait()


def _first_sentence(problem: Exception) -> str:
    """Without the advice that libraries add for those who write programs."""
    return str(problem).splitlines()[0].partition(". ")[0]


def _keep(session: Session, watch: Watch | Quiet) -> None:
    """Save what was done before a failure that is not its fault, and say where it is; the failure goes on."""
    try:
        session.save()
        session.saver.wait()
    except DiptychError as problem:
        watch.say(str(problem))
    if session.saver.last:
        watch.say(f"the last checkpoint is {session.saver.last}; resume (--resume) goes on from it")


def _describe(session: Session, source: Source, watch: Watch | Quiet) -> None:
    """Write the data card, and the model card once more with what was evaluated since."""
    try:
        found = survey(source, session.recipe.data, session.tokenizer)
        write_data_card(session.folder, session.recipe, found, session.data)
        add_intervals(session.folder, {})
    except (DiptychError, OSError, ValueError, KeyError) as problem:  # not worth a run that is done
        watch.say(f"the cards of the run were not written: {problem}")
