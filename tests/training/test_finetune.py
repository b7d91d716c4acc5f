"""Fine-tuning from the zero-shot head, and the mixtures with the model before."""

import dataclasses
import errno
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import diptych
from diptych.cli.finetune_report import Tasks
from diptych.cli.main import main
from diptych.config import override
from diptych.data.relabelled import Labelled
from diptych.data.sources import open_source, read
from diptych.encoder.classifier import Classifier
from diptych.encoder.clip import Clip
from diptych.errors import ConfigError, DataError
from diptych.evaluation.head import classify
from diptych.evaluation.tasks import evaluate
from diptych.models.clip import create_model
from diptych.tokens import Tokens
from diptych.training import state
from diptych.training.finetune import fine_tuning
from diptych.training.forward import Classify
from diptych.training.head import attach, classification, classifier_of
from diptych.training.interpolation import between, interpolated
from diptych.training.loop import train
from diptych.training.losses import LossSpec
from diptych.training.recipe import DataSpec, Recipe
from tests.training import small
from tests.training.faults import finish, watch_changes
from tests.training.processes import context, run_in_processes

CLASSES = tuple(small.COLOURS)


def draw_classes(folder: Path, *, dark: float = 1.0, count: int = 8, names: tuple[str, ...] = CLASSES) -> Path:
    """A folder of folders of one-colour images; ``dark`` takes their light, which is another kind of image."""
    random = np.random.default_rng(7)
    for name in names:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = dark * np.array(small.COLOURS[name]) + random.normal(0, 12, (40, 48, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("before")
    train(small.recipe(small.make_data(folder / "data"), steps=12, every_steps=100), folder / "run")
    return folder / "run" / "model"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_classes(tmp_path_factory.mktemp("classes") / "train")


def tuning(model: Path, data: Path, *values: str, head_only: bool = False) -> Recipe:
    clip, source = diptych.load(model), open_source(data)
    classes = source.class_names or ()
    recipe = fine_tuning(
        clip,
        str(model),
        DataSpec(source=str(data), workers=0),
        classes=classes,
        templates=("a {} card",),
        samples=len(source),
        head_only=head_only,
    )
    return override(recipe, ["precision=fp32", "duration=6 steps", "batch_size=8", "evaluate_every=3", *values])


def accuracy(run_clip: Clip, recipe: Recipe, source: Path) -> float:
    assert recipe.head
    return classify(classifier_of(run_clip, recipe.head), open_source(source)).metrics["acc1"]


def test_before_the_first_step_the_head_is_the_zero_shot_classifier(model: Path, data: Path, tmp_path: Path) -> None:
    seen: list[float] = []

    def judged(clip: Clip) -> Mapping[str, float]:
        seen.append(accuracy(clip, recipe, data))
        return {"acc1": seen[-1]}

    recipe = tuning(model, data, "optimizer.learning_rate=1e-30", "duration=1 steps")
    run = train(recipe, tmp_path / "run", evaluators={"own": judged})
    clip = diptych.load(model)
    zero_shot = clip.classifier(sorted(CLASSES), ["a {} card"])
    assert recipe.head
    np.testing.assert_allclose(classifier_of(run.clip, recipe.head).weights_CE, zero_shot.weights_CE, atol=1e-6)
    assert seen[-1] == evaluate(clip, data, "zero-shot", templates=["a {} card"]).metrics["acc1"]


def test_fine_tuning_learns_and_its_model_and_classifier_open(model: Path, data: Path, tmp_path: Path) -> None:
    recipe = tuning(model, data, "duration=60 steps", "optimizer.learning_rate=3e-3")
    run = train(recipe, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert np.mean([line["loss"] for line in lines[-10:]]) < 0.5 * lines[0]["loss"]
    assert np.mean([line["class_accuracy"] for line in lines[-10:]]) > 0.8
    before, after = diptych.load(model), diptych.load(tmp_path / "run" / "model")
    assert after.similarity_scale == before.similarity_scale
    np.testing.assert_array_equal(after.encode_texts("a red card"), before.encode_texts("a red card"))
    classifier = Classifier.load(tmp_path / "run" / "classifier.npz", after)
    assert classifier.labels == tuple(sorted(CLASSES))
    assert recipe.head
    own = classify(classifier_of(run.clip, recipe.head), open_source(data)).metrics
    assert classify(classifier, open_source(data)).metrics == own
    assert own["acc1"] > evaluate(before, data, "zero-shot").metrics["acc1"]
    assert classifier.predict(data / "red" / "0.png") == ["red"]
    run.clip.save(tmp_path / "saved")  # an ordinary bundle, though a head is attached
    assert diptych.load(tmp_path / "saved").spec == after.spec


def test_of_the_head_alone_nothing_else_changes(model: Path, data: Path, tmp_path: Path) -> None:
    run = train(tuning(model, data, head_only=True), tmp_path / "run")
    before = diptych.load(model).model.state_dict()
    after = dict(run.clip.model.state_dict())
    moved = after.pop("head")
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not torch.allclose(moved.norm(dim=1), torch.ones(len(CLASSES)), atol=1e-4)


def killed_at_the_second(clip: Clip) -> Mapping[str, float]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def cut(recipe: Recipe, out: Path) -> None:
    train(recipe, out, evaluators={"x": killed_at_the_second})


@pytest.mark.parametrize("values", [(), pytest.param(("ema=0.9",), marks=pytest.mark.long)], ids=["plain", "averaged"])
def test_a_killed_run_goes_on_to_the_same_weights(
    model: Path, data: Path, tmp_path: Path, values: tuple[str, ...]
) -> None:
    recipe = tuning(model, data, "checkpoints.every_steps=1", "evaluate_every=3", *values)
    whole = train(recipe, tmp_path / "whole")
    process = multiprocessing.get_context("fork").Process(target=cut, args=(recipe, tmp_path / "cut"))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    # Of the third step it may be whole or not.
    assert "step-000000002" in [path.name for path in state.checkpoints(tmp_path / "cut" / "checkpoints")]
    resumed = train(recipe, tmp_path / "cut", resume=True)
    for name, tensor in whole.clip.model.state_dict().items():
        assert torch.equal(tensor, resumed.clip.model.state_dict()[name]), name
    ours, theirs = (np.load(tmp_path / run / "classifier.npz")["weights_CE"] for run in ("whole", "cut"))
    np.testing.assert_array_equal(ours, theirs)


def tuned(model: Path, data: Path, out: Path, *values: str) -> int:
    values += ("image_tower.layer_decay=0.9", "duration=3 steps")
    return train(tuning(model, data, *values, head_only=True), out).step  # batch norms of a part are others


@pytest.mark.long
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_several_processes_train_as_one_does(model: Path, data: Path, tmp_path: Path, sharding: str) -> None:
    tuned(model, data, tmp_path / "one")
    more = f"sharding={sharding}"
    assert run_in_processes(2, tuned, model, data, tmp_path / "two", more, folder=tmp_path) == [3, 3]
    for name in ("loss", "class_accuracy", "gradient_norm"):
        lines = [(tmp_path / run / "metrics.jsonl").read_text().splitlines() for run in ("one", "two")]
        one, two = ([json.loads(line)[name] for line in run] for run in lines)
        assert two == pytest.approx(one, rel=1e-5), name
    one, two = (np.load(tmp_path / run / "classifier.npz")["weights_CE"] for run in ("one", "two"))
    np.testing.assert_allclose(two, one, atol=1e-5)


def test_the_loss_is_cross_entropy_in_parts_too(model: Path) -> None:
    bare = diptych.load(model)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(6, 3, 32, 32, generator=generator)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    results = []
    for micro_batch in (None, 2, 4):
        clip = create_model(bare.spec, seed=1).eval()  # batch norms of a part are others in training
        attach(clip, torch.randn(3, 16, generator=torch.Generator().manual_seed(2)))
        loss, metrics = classification(
            Classify(clip, torch.float32),
            pixels,
            Tokens(torch.zeros(6, 2, dtype=torch.int64), torch.full((6,), 2)),
            labels_B=labels,
            loss=LossSpec(label_smoothing=0.1),
            micro_batch=micro_batch,
        )
        results.append((loss, metrics["class_accuracy"], clip.head.grad, clip.image.stem[0].weight.grad))
        assert clip.logit_scale.grad is None
    for result in results[1:]:
        for ours, whole in zip(result, results[0], strict=True):
            torch.testing.assert_close(ours, whole, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        images = F.normalize(clip.encode_image(pixels), dim=1)
        logits = clip.logit_scale.exp() * images @ clip.head.T
        expected = F.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(results[0][0], expected)


def test_interpolation_is_linear_and_exact_at_its_ends(model: Path) -> None:
    before, after = create_model(diptych.load(model).spec, seed=1), create_model(diptych.load(model).spec, seed=2)
    for clip in (before, after):
        attach(clip, torch.randn(3, 16, generator=torch.Generator().manual_seed(3)))
    after.image.stem[1].num_batches_tracked.fill_(9)
    ends = {alpha: interpolated(before.state_dict(), after.state_dict(), alpha) for alpha in (0, 0.25, 1)}
    for name, start in before.state_dict().items():
        end = after.state_dict()[name]
        if start.is_floating_point():
            assert torch.equal(ends[0][name], start)
            torch.testing.assert_close(ends[0.25][name], 0.75 * start + 0.25 * end)
        assert torch.equal(ends[1][name], end)
    mixed = between(before, Clip(after), 0.5)
    assert torch.equal(after.image.stem[0].weight, create_model(after.spec, seed=2).image.stem[0].weight)
    assert mixed.provenance["interpolation"] == 0.5
    with pytest.raises(ConfigError, match="alpha must be from 0"):
        interpolated({}, {}, 1.5)
    with pytest.raises(ConfigError, match="b is in one of them only"):
        interpolated({"a": torch.ones(1)}, {"a": torch.ones(1), "b": torch.ones(1)}, 0.5)
    with pytest.raises(ConfigError, match=r"a is \(1,\) and \(2,\)"):
        interpolated({"a": torch.ones(1)}, {"a": torch.ones(2)}, 0.5)


def test_classes_are_known_by_name(model: Path, tmp_path: Path) -> None:
    some = draw_classes(tmp_path / "some", count=2, names=("red", "blue"))
    source = Labelled(open_source(some), ("green", "red", "blue"))
    assert {read(source, i).captions for i in range(4)} == {("1",), ("2",)}
    clip = diptych.load(model)
    three = clip.classifier(["green", "red", "blue"], ["a {} card"])
    scores = classify(three, open_source(some))
    assert scores.chance["acc1"] == 0.5  # among the two that it has
    zero_shot = evaluate(clip, some, templates=["a {} card"]).metrics
    assert scores.metrics == {name: zero_shot[name] for name in scores.metrics}
    with pytest.raises(DataError, match="class 'blue' that the classifier has not"):
        Labelled(open_source(some), ("red", "green", "blues"))
    with pytest.raises(DataError, match=r"1 names of some are those of several classes.*'red'"):
        Labelled(open_source(some), ("red", "blue", "red"))


def test_what_a_head_cannot_go_with(model: Path, data: Path) -> None:
    recipe = tuning(model, data)
    with pytest.raises(ConfigError, match="loss over classes"):
        override(recipe, ["loss.nested=[8,16]"])
    with pytest.raises(ConfigError, match="nothing to do"):
        dataclasses.replace(tuning(model, data, head_only=True), head=None)
    with pytest.raises(ConfigError, match="captions_per_image must be 1"):
        override(recipe, ["data.captions_per_image=2"])
    with pytest.raises(ConfigError, match="two classes"):
        override(recipe, ['head.classes=["a"]'])


def test_a_damaged_or_foreign_classifier_is_told(model: Path, tmp_path: Path) -> None:
    clip = diptych.load(model)
    path = clip.classifier(["a", "b"]).save(tmp_path / "c.npz")
    assert Classifier.load(path, clip).labels == ("a", "b")
    other = Clip(create_model(dataclasses.replace(clip.spec, embedding=8), seed=0))
    with pytest.raises(DataError, match="embeddings of 8"):
        Classifier.load(path, other)
    fast = diptych.load(model, precision="fast")
    assert Classifier.load(path, fast).labels == ("a", "b")
    stranger = Clip(create_model(clip.spec, seed=0))
    with pytest.raises(ConfigError, match="another model's embeddings"):
        Classifier.load(path, stranger)
    with np.load(path) as archive:
        without = {name: archive[name] for name in archive if name != "model"}
    np.savez(tmp_path / "old.npz", **without)
    assert Classifier.load(tmp_path / "old.npz", stranger).labels == ("a", "b")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="no classifier"):
        Classifier.load(path, clip)


VALUES = ("duration=8 steps", "batch_size=8", "optimizer.learning_rate=1e-2", "evaluate_every=4", "precision=fp32")


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("judges")
    shifted = draw_classes(folder / "dark", dark=0.4, count=3)
    other = draw_classes(folder / "other", count=3, names=("blue", "grey"))
    return ["--shifted", str(shifted), "--held-out", str(other)]


def command(model: Path, data: Path, judges: list[str], out: Path, *more: str) -> list[str]:
    arguments = ["finetune", str(model), str(data), "--out", str(out), "--validation", str(data), *judges]
    return [*arguments, "--templates", "name", *(part for value in VALUES for part in ("--set", value)), *more]


def mixtures(out: Path) -> list[dict]:
    return json.loads((out / "mixtures.json").read_text())["mixtures"]


def counted(monkeypatch: pytest.MonkeyPatch, then: Callable[[int], None] = lambda _: None) -> list[str]:
    """The tasks of the mixtures that are measured from here on; ``then`` gets how many there were before."""
    seen: list[str] = []

    def measure(tasks: Tasks, name: str, clip: Clip, recipe: Recipe) -> dict:
        if "interpolation" in clip.provenance:
            then(len(seen))
            seen.append(name)
        return whole(tasks, name, clip, recipe)

    whole = Tasks.measure
    monkeypatch.setattr(Tasks, "measure", measure)
    return seen


@pytest.fixture(scope="module")
def measured(model: Path, data: Path, judges: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose mixtures are measured, which nobody changes."""
    out = tmp_path_factory.mktemp("measured") / "run"
    assert main(command(model, data, judges, out, "--alpha", "0.4")) == 0
    return out


def test_the_verb_measures_what_was_won_and_lost(
    model: Path, data: Path, judges: list[str], measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, shifted, _, other = judges
    lines = [json.loads(line) for line in (measured / "metrics.jsonl").read_text().splitlines()]
    watched = [line for line in lines if "validation/acc1" in line]
    assert [line["step"] for line in watched] == [4, 8]
    assert {"shifted dark/acc1", "held-out other/acc1"} <= watched[0].keys()
    found = mixtures(measured)
    assert [at["alpha"] for at in found] == [step / 10 for step in range(11)]
    assert found[-1]["validation"]["acc1"] == watched[-1]["validation/acc1"]
    before = diptych.load(model)
    assert found[0]["held-out other"]["acc1"] == evaluate(before, other).metrics["acc1"]
    assert found[0]["shifted dark"]["acc1"] == evaluate(before, shifted, templates="name").metrics["acc1"]
    assert (measured / "mixtures.svg").read_text().startswith("<?xml")
    mixed = Classifier.load(measured / "mixed" / "classifier.npz", diptych.load(measured / "mixed" / "model"))
    assert classify(mixed, open_source(shifted)).metrics["acc1"] == found[4]["shifted dark"]["acc1"]
    image, labels = str(data / "red" / "0.png"), str(measured / "classifier.npz")
    assert main(["classify", str(measured / "model"), image, "--labels", labels, "--json", "--precision", "fp32"]) == 0
    own = Classifier.load(labels, diptych.load(measured / "model")).rank(image)[0]
    assert json.loads(capsys.readouterr().out)["labels"] == pytest.approx(dict(own), abs=1e-5)
    for place, labels in (("model", "mixed/classifier.npz"), ("mixed/model", "classifier.npz")):
        assert main(["classify", str(measured / place), image, "--labels", str(measured / labels)]) == 2
        assert "another model's embeddings" in capsys.readouterr().err
    arguments = ["classify", str(measured / "model"), image, "--labels", str(measured / "classifier.npz")]
    assert main([*arguments, "--templates", "name"]) == 2
    assert "--templates" in capsys.readouterr().err


def test_the_cards_of_a_classifier_speak_of_classes(model: Path, measured: Path) -> None:
    card = (measured / "model" / "README.md").read_text()
    for fact in (
        "as a classifier of 4 classes.",
        f"| begun from | both towers of `{model}` |",
        "| loss | cross-entropy over 4 classes |",
        "--labels path/to/classifier.npz",
    ):
        assert fact in card
    described = (measured / "data-card.md").read_text()
    assert "| classes | 4: blue, green, grey, red |" in described
    assert not any(word in card + described for word in ("caption_contrast", "words of a caption", "pairs seen"))


def test_the_card_of_a_mixture_tells_what_is_mixed_and_how_good_it_is(model: Path, measured: Path) -> None:
    card = (measured / "mixed" / "model" / "README.md").read_text()
    assert "0.6 of the model before and 0.4 of the one" in card
    assert f"| the model before | both towers of `{model}` |" in card
    found = mixtures(measured)
    for text, at in ((card, found[4]), ((measured / "model" / "README.md").read_text(), found[10])):
        for name in ("validation", "shifted dark", "held-out other"):
            low, high = at[name]["interval"]
            assert f"| {name}/acc1 | {at[name]['acc1']:.4g} | {low:.4f} to {high:.4f} |" in text


def test_what_the_verb_is_told_wrongly_is_told_before_it_trains(
    model: Path, data: Path, judges: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(command(model, data, judges, out, "--alpha", "2")) == 2
    assert "alpha must be from 0" in capsys.readouterr().err
    odd = draw_classes(tmp_path / "odd", count=1)
    (odd / "red").rename(odd / "crimson")
    assert main(command(model, data, ["--shifted", str(odd)], out)) == 1
    assert "odd has a class 'crimson' that the classifier has not; valid: blue, green" in capsys.readouterr().err
    assert not out.exists()


def test_tasks_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [tmp_path / place for place in ("a/x 2", "b/x", "c/x")]
    for folder in folders:
        draw_classes(folder, count=1)
    tasks = Tasks.opened(None, [str(folder) for folder in folders], [str(folders[1])], None)
    assert tasks.names == ["shifted x 2", "shifted x", "shifted x 3", "held-out x"]


def test_another_mixture_is_written_without_measuring_again(
    model: Path,
    data: Path,
    judges: list[str],
    measured: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = Path(shutil.copytree(measured, tmp_path / "run"))
    seen = counted(monkeypatch)
    assert main(command(model, data, judges, out, "--resume", "--alpha", "0.45")) == 0
    assert seen == ["validation", "shifted dark", "held-out other"]  # at 0.45 alone
    assert capsys.readouterr().out.splitlines()[7].startswith("| 0.45  |")
    assert [at for at in mixtures(out) if at["alpha"] != 0.45] == mixtures(measured)
    ends = [np.load(path / "classifier.npz")["weights_CE"] for path in (out, out / "mixed")]
    zero_shot = diptych.load(model).classifier(sorted(CLASSES), ["{}"]).weights_CE
    np.testing.assert_allclose(ends[1], 0.55 * zero_shot + 0.45 * ends[0], atol=1e-6)

    def full(classifier: Classifier, path: Path) -> Path:
        if path.parent.name == "mixed":
            raise OSError(errno.ENOSPC, "no space", str(path))
        return save(classifier, path)

    save, asked = Classifier.save, []
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "save", full)
        assert main(command(model, data, judges, out, "--resume", "--alpha", "0.9")) == 1
    assert diptych.load(out / "mixed" / "model").provenance["interpolation"] == 0.9
    assert not (out / "mixed" / "classifier.npz").exists()  # that of 0.45

    def guess(tasks: Tasks, name: str, clip: Clip, recipe: Recipe) -> dict:
        asked.append(name)
        return {"acc1": 0.5, "interval": [0.0, 1.0]}

    monkeypatch.setattr(Tasks, "measure", guess)
    assert main(command(model, data, judges[:2], out, "--resume")) == 0  # other tasks are measured anew
    assert len(asked) == 2 * 11
    (out / "mixtures.json").write_text("{")  # nor is anything taken from what is damaged
    assert main(command(model, data, judges[:2], out, "--resume")) == 0
    assert len(asked) == 2 * 2 * 11


def test_killed_among_the_mixtures_it_measures_those_that_are_left(
    model: Path, data: Path, judges: list[str], measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def kill(count: int) -> None:
        if count == 3 * 5 + 1:  # at the second task of the sixth mixture
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        counted(patch, kill)
        arguments = command(model, data, judges, out, "--alpha", "0.4")
        process = multiprocessing.get_context("fork").Process(target=main, args=(arguments,))
        process.start()
        process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert mixtures(out) == mixtures(measured)[:5]
    assert not (out / "mixed").exists()
    seen = counted(monkeypatch)
    assert main(command(model, data, judges, out, "--alpha", "0.4", "--resume")) == 0
    assert len(seen) == 3 * 6
    assert mixtures(out) == mixtures(measured)
    for name in ("mixtures.svg", "mixed/classifier.npz"):
        assert (out / name).read_bytes() == (measured / name).read_bytes(), name
    ours, theirs = (diptych.load(run / "mixed" / "model").model.state_dict() for run in (out, measured))
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def verb(arguments: list[str], out: Path, kill_at: int | None) -> None:
    torch.set_num_threads(1)
    watch_changes(out, kill_at)
    os._exit(main(arguments))


def ended(arguments: list[str], out: Path, kill_at: int | None = None) -> int:
    process = context.Process(target=verb, args=(arguments, out, kill_at))
    process.start()
    return finish([process])[0]


@pytest.mark.long
def test_killed_at_changes_after_its_last_step_it_goes_on_to_the_same(
    model: Path, data: Path, judges: list[str], tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    assert ended(command(model, data, judges, whole), whole) == 0
    changes = whole.with_name("whole-changes.log").read_text().splitlines()
    first = next(number for number, change in enumerate(changes) if "mixtures.json" in change)
    assert len(changes) - first > 30
    for kill_at in range(len(changes) - 2, first, -7):
        out = tmp_path / f"{kill_at}"
        assert ended(command(model, data, judges, out), out, kill_at) == -signal.SIGKILL
        assert ended(command(model, data, judges, out, "--resume"), out) == 0
        assert mixtures(out) == mixtures(whole)
        for name in ("mixtures.svg", "classifier.npz", "mixed/classifier.npz"):
            assert (out / name).read_bytes() == (whole / name).read_bytes(), name
        assert diptych.load(out / "mixed" / "model").provenance["interpolation"] == 0.5
        assert not [path for path in out.rglob(".*") if path.is_dir() or path.suffix == ".partial"]


def test_asked_to_stop_in_the_last_step_it_leaves_the_mixtures_for_later(
    model: Path,
    data: Path,
    judges: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, whole, done = tmp_path / "run", Tasks.measure, []

    def stopping(*arguments: Any) -> dict:
        done.append(1)
        if len(done) == 2 * 3:  # at the last evaluation
            os.kill(os.getpid(), signal.SIGINT)
        return whole(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Tasks, "measure", stopping)
        assert main(command(model, data, judges, out)) == 130
    assert "stopped before the mixtures were measured; go on with --resume" in capsys.readouterr().out
    assert not (out / "mixtures.json").exists()
    assert main(command(model, data, judges, out, "--resume")) == 0
    assert len(mixtures(out)) == 11
