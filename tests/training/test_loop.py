import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch

import diptych
from diptych.config import override, to_dict
from diptych.errors import ConfigError, DataError, NonFiniteLoss, TooManyFailures, TrainingError
from diptych.specs import BertSpec
from diptych.training import recipes, state
from diptych.training.loop import train
from diptych.training.recipe import Recipe
from diptych.training.session import Session
from tests.training import small


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("data"))


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_learns_and_its_model_opens(data: Path, tmp_path: Path, precision: str) -> None:
    recipe = override(small.recipe(data, steps=40, every_steps=40), [f"precision={precision}"])
    run = train(recipe, tmp_path / "run")
    assert run.finished
    lines = metrics(tmp_path / "run")
    assert len(lines) == 40
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    assert {"loss", "logit_scale", "learning_rate", "gradient_norm", "samples_per_second", "seconds"} <= set(lines[0])
    clip = diptych.load(tmp_path / "run" / "model")
    texts = ["a red card number 1", "a blue card number 2"]
    assert clip.encode_texts(texts) == pytest.approx(run.clip.encode_texts(texts), abs=1e-6)
    assert clip.provenance["recipe"]["precision"] == precision


def test_the_checkpoint_of_a_step_opens_and_only_the_last_are_kept(data: Path, tmp_path: Path) -> None:
    train(small.recipe(data, steps=6, every_steps=2), tmp_path / "run")
    kept = state.checkpoints(tmp_path / "run" / "checkpoints")
    assert [path.name for path in kept] == ["step-000000004", "step-000000006"]
    assert diptych.load(kept[0]).encode_texts("a red card").shape == (1, 16)


def test_minutes_make_checkpoints_too(data: Path, tmp_path: Path) -> None:
    recipe = override(small.recipe(data, steps=4), ["checkpoints.every_minutes=1e-9", "checkpoints.keep=20"])
    train(recipe, tmp_path / "run")
    assert len(state.checkpoints(tmp_path / "run" / "checkpoints")) == 4


def test_evaluators_get_the_model_and_leave_training_as_it_was(data: Path, tmp_path: Path) -> None:
    seen = []

    def evaluator(clip: diptych.Clip) -> dict[str, float]:
        torch.rand(3)  # whatever it draws is its own affair
        seen.append(clip.encode_texts(["a red card number 0"]))
        return {"answer": 42.0}

    train(small.recipe(data), tmp_path / "with", evaluators={"test": evaluator})
    train(small.recipe(data), tmp_path / "without")
    lines = metrics(tmp_path / "with")
    assert [line["step"] for line in lines if "test/answer" in line] == [5, 10, 12]
    assert len(seen) == 3
    with_losses = [line["loss"] for line in lines if "loss" in line]
    assert with_losses == [line["loss"] for line in metrics(tmp_path / "without")]


def test_the_temperature_is_clipped(data: Path, tmp_path: Path) -> None:
    train(override(small.recipe(data), ["max_logit_scale=14.0"]), tmp_path / "run")
    assert max(line["logit_scale"] for line in metrics(tmp_path / "run")) <= 14.0 + 1e-4


def test_gradients_are_scaled_down_to_the_largest_norm(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms = []
    step = torch.optim.AdamW.step

    def spy(optimizer: torch.optim.AdamW) -> None:
        grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norms.append(torch.nn.utils.get_total_norm(grads).item())
        step(optimizer)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    train(override(small.recipe(data, steps=4), ["optimizer.max_gradient_norm=0.05"]), tmp_path / "run")
    assert norms == pytest.approx([0.05] * 4, rel=1e-3)
    assert all(line["gradient_norm"] > 0.05 for line in metrics(tmp_path / "run"))


def test_a_loss_that_is_no_number_stops_the_run_before_it_does_harm(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = Session.advance

    def poisoned(session: Session, batch: object, steps: int) -> dict[str, float]:
        if session.step == 7:
            batch = batch._replace(pixels_BCHW=torch.full_like(batch.pixels_BCHW, float("nan")))
        return advance(session, batch, steps)

    monkeypatch.setattr(Session, "advance", poisoned)
    with pytest.raises(NonFiniteLoss, match=r"step 8: .*step-000000007.*Samples of the batch: .*\.png"):
        train(small.recipe(data, every_steps=7), tmp_path / "run")
    last = state.checkpoints(tmp_path / "run" / "checkpoints")[-1]
    bundle, resumed = state.load(last)
    assert resumed.step == 7
    assert all(torch.isfinite(tensor).all() for tensor in bundle.weights.values())


def test_unreadable_samples_are_listed_and_too_many_stop_the_run(tmp_path: Path) -> None:
    table = small.make_data(tmp_path / "data")
    (tmp_path / "data" / "3.png").write_bytes(b"")
    recipe = small.recipe(table)
    train(override(recipe, ["data.max_failures=0.5"]), tmp_path / "run")
    listed = json.loads((tmp_path / "run" / "skipped.json").read_text())
    assert list(listed) == ["3"]
    assert "3.png" in listed["3"]
    for index in range(12):
        (tmp_path / "data" / f"{index}.png").unlink()
    with pytest.raises(TooManyFailures, match=r"\.png"):
        train(recipe, tmp_path / "other")


def test_a_caption_that_is_not_text_is_skipped_by_the_vocabulary_too(tmp_path: Path) -> None:
    table = small.make_data(tmp_path / "data")
    table.write_bytes(table.read_bytes().replace(b"a green card number 1\n", b"caf\xe9\n"))
    train(override(small.recipe(table, steps=3), ["data.max_failures=0.5"]), tmp_path / "run")
    listed = json.loads((tmp_path / "run" / "skipped.json").read_text())
    assert list(listed) == ["1"]
    assert "utf-8" in listed["1"]


def test_what_an_earlier_part_of_the_run_listed_stays_listed(tmp_path: Path) -> None:
    table = small.make_data(tmp_path / "data")
    (tmp_path / "data" / "3.png").write_bytes(b"")
    recipe = override(small.recipe(table, steps=3), ["data.max_failures=0.5"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "skipped.json").write_text(json.dumps({"17": "17.png: was there and is no more"}))
    train(recipe, tmp_path / "run")
    assert set(json.loads((tmp_path / "run" / "skipped.json").read_text())) == {"3", "17"}


def test_rows_and_files_that_gave_no_sample_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = small.make_data(tmp_path / "data")
    table.write_text(table.read_text() + "\tno image\n")
    train(small.recipe(table, steps=1), tmp_path / "run")
    assert "row 25 has no image" in capsys.readouterr().err


def test_an_evaluation_that_was_killed_is_made_up_for(data: Path, tmp_path: Path) -> None:
    recipe = small.recipe(data)

    def killed(clip: diptych.Clip) -> dict[str, float]:
        if sum("test/answer" in line for line in metrics(tmp_path / "run")) == 2:
            raise KeyboardInterrupt  # within the last evaluation, whose step is saved already
        return {"answer": 42.0}

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", evaluators={"test": killed})
    for _ in range(2):  # and only once
        train(recipe, tmp_path / "run", resume=True, evaluators={"test": lambda _: {"answer": 42.0}})
        assert [line["step"] for line in metrics(tmp_path / "run") if "test/answer" in line] == [5, 10, 12]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_during_an_evaluation_it_saves_first(data: Path, tmp_path: Path, number: signal.Signals) -> None:
    recipe, folder = small.recipe(data), tmp_path / "run"

    def evaluator(clip: diptych.Clip) -> dict[str, float]:
        os.kill(os.getpid(), number)
        return {"answer": 42.0}

    run = train(recipe, folder, evaluators={"test": evaluator})
    assert (run.step, run.finished) == (5, False)
    assert [path.name for path in state.checkpoints(folder / "checkpoints")] == ["step-000000005"]
    train(recipe, folder, resume=True)
    assert [line["step"] for line in metrics(folder) if "loss" in line] == list(range(1, 13))


def test_an_evaluation_that_fails_costs_neither_steps_nor_model(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def unlucky(clip: diptych.Clip) -> dict[str, float]:
        raise DataError("0.png has no caption")

    recipe, folder = small.recipe(data), tmp_path / "run"
    for last, error in ((5, DataError), (5, DataError)):  # it is made up for at once, and fails again
        with pytest.raises(error, match="no caption"):
            train(recipe, folder, resume=True, evaluators={"test": unlucky})
        assert f"the last checkpoint is {folder}/checkpoints/step-{last:09d}; resume" in capsys.readouterr().err
    with pytest.raises(DataError, match="no caption"):
        train(override(recipe, ["evaluate_every=1000"]), folder, resume=True, evaluators={"test": unlucky})
    assert diptych.load(folder / "model").encode_texts("a red card").shape == (1, 16)
    shutil.rmtree(folder / "model")  # as if killed before it was written
    with pytest.raises(DataError, match="no caption"):
        train(override(recipe, ["evaluate_every=1000"]), folder, resume=True, evaluators={"test": unlucky})
    assert (folder / "model").is_dir()


def test_a_worker_that_is_killed_costs_no_steps(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    advance = Session.advance

    def killing(session: Session, batch: object, steps: int) -> dict[str, float]:
        if session.step == 3:
            for process in multiprocessing.active_children():
                os.kill(process.pid, signal.SIGKILL)
        return advance(session, batch, steps)

    recipe, folder = small.recipe(data, workers=1, steps=30), tmp_path / "run"
    monkeypatch.setattr(Session, "advance", killing)
    with pytest.raises(DataError, match="SIGKILL"):
        train(recipe, folder)
    [last] = state.checkpoints(folder / "checkpoints")
    assert state.load(last)[1].step >= 4
    assert f"the last checkpoint is {last}; resume (--resume)" in capsys.readouterr().err
    monkeypatch.undo()
    assert train(recipe, folder, resume=True).finished


def test_too_many_failures_cost_no_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = small.make_data(tmp_path / "data")
    advance = Session.advance

    def spoiling(session: Session, batch: object, steps: int) -> dict[str, float]:
        if session.step == 6:
            for index in range(24):
                (tmp_path / "data" / f"{index}.png").unlink()
        return advance(session, batch, steps)

    monkeypatch.setattr(Session, "advance", spoiling)
    with pytest.raises(TooManyFailures):
        train(small.recipe(table), tmp_path / "run")
    assert "step-000000007; resume" in capsys.readouterr().err
    assert state.checkpoints(tmp_path / "run" / "checkpoints")


@pytest.mark.parametrize(("last", "every_steps"), [(4, 1), (12, 11)])
def test_weights_that_are_no_numbers_are_not_saved(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int, every_steps: int
) -> None:
    advance = Session.advance

    def spoiling(session: Session, batch: object, steps: int) -> dict[str, float]:
        told = advance(session, batch, steps)
        if session.step == last:
            session.model.text.projection.data[0, 0] = float("nan")
        return told

    monkeypatch.setattr(Session, "advance", spoiling)
    with pytest.raises(NonFiniteLoss, match=rf"step {last}: .*text\.projection.*good checkpoint is .*{last - 1:09d}"):
        train(small.recipe(data, every_steps=every_steps), tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()
    bundle, resumed = state.load(state.checkpoints(tmp_path / "run" / "checkpoints")[-1])
    assert resumed.step == last - 1
    assert all(torch.isfinite(tensor).all() for tensor in bundle.weights.values())


def test_a_vocabulary_from_a_file_is_used_as_it_is(data: Path, tmp_path: Path) -> None:
    first = train(small.recipe(data, steps=1), tmp_path / "first")
    folder = tmp_path / "first" / "model"
    second = train(
        override(small.recipe(data, steps=1), [f"vocabulary={json.dumps(str(folder))}"]), tmp_path / "second"
    )
    assert second.clip.tokenizer.fingerprint == first.clip.tokenizer.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        "duration=12 parsecs",
        "duration=0 steps",
        "duration=1.2.3 steps",
        "batch_size=1",
        "evaluate_every=0",
        "max_logit_scale=0",
        "micro_batch=0",
        "patch_dropout=1.0",
        "half_text_weights=true",
        "patch_dropout=0.5",
    ],
)
def test_impossible_recipes(data: Path, change: str) -> None:
    with pytest.raises(ConfigError, match=change.partition("=")[0]):
        override(small.recipe(data), [change])


def test_duration_in_epochs_and_steps() -> None:
    recipe = recipes.vit_b_32(data="x")
    assert recipe.steps(samples=400_000_000) == 390_625
    assert dataclasses.replace(recipe, duration="17 steps").steps(samples=5) == 17
    assert dataclasses.replace(recipe, duration="0.1 epochs").steps(samples=5) == 1


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_recipes_survive_json_and_name_a_known_model(name: str) -> None:
    from diptych.config import from_dict, to_dict

    recipe = recipes.find(name)("some/data")
    assert from_dict(Recipe, to_dict(recipe)) == recipe
    assert recipe.data.source == "some/data"


@pytest.mark.parametrize(
    ("name", "rate", "beta2", "epsilon"),
    [("rn50", 5e-4, 0.999, 1e-8), ("RN50x64", 3.6e-4, 0.999, 1e-8), ("ViT-L/14", 4e-4, 0.98, 1e-6)],
)
def test_the_papers_values(name: str, rate: float, beta2: float, epsilon: float) -> None:
    recipe = recipes.find(name)("x")
    optimizer = recipe.optimizer
    assert (optimizer.learning_rate, optimizer.beta1, optimizer.beta2, optimizer.epsilon) == (rate, 0.9, beta2, epsilon)
    assert (optimizer.weight_decay, optimizer.warmup_steps, recipe.batch_size) == (0.2, 2000, 32_768)
    assert recipe.duration == "32 epochs"


def test_a_damaged_run_folder_is_an_error(data: Path, tmp_path: Path) -> None:
    train(small.recipe(data, steps=1), tmp_path / "run")
    (tmp_path / "run" / "recipe.json").write_text("{")
    with pytest.raises(TrainingError, match=r"recipe\.json"):
        train(small.recipe(data, steps=1), tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    "assignment",
    [
        "duration=... steps",
        "duration=0.2 steps",
        f"duration={'9' * 400} steps",
        "data.captions_per_image=0",
        "optimizer.beta2=2",
        "max_logit_scale=-1",
        "seed=99999999999999999999",
        "data.workers=-1",
        "data.max_failures=7",
    ],
)
def test_values_that_could_not_train_are_refused_at_once(data: Path, assignment: str) -> None:
    with pytest.raises(ConfigError, match=assignment.partition("=")[0].rpartition(".")[2]):
        override(small.recipe(data), [assignment])


def numbers(value: object, path: str = "") -> list[tuple[str, object]]:
    """Where in a recipe numbers with a fraction stand, and what to write there for one of them to be none."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in numbers(item, f"{path}.{key}" if path else key)]
    if isinstance(value, list) and any(isinstance(item, float) for item in value):
        return [(path, [float("nan"), *value[1:]]), (path, [*value[:-1], float("nan")])]
    return [(path, float("nan"))] if isinstance(value, float) else []


def test_no_number_of_a_recipe_may_be_none(data: Path) -> None:
    recipe = override(small.recipe(data), ["optimizer.max_gradient_norm=1.0"])
    found = numbers(to_dict(recipe))
    assert len(found) > 20
    for path, value in found:
        with pytest.raises(ConfigError, match=path.rpartition(".")[2]):
            override(recipe, [f"{path}={json.dumps(value)}"])


def test_a_caption_that_is_not_utf8_does_not_stop_the_vocabulary(tmp_path: Path) -> None:
    path = small.make_data(tmp_path / "data")
    path.write_bytes(path.read_bytes().replace(b"card number 5", b"caf\xe9"))
    recipe = override(small.recipe(path, steps=2), ["data.max_failures=0.5"])
    assert train(recipe, tmp_path / "run").finished


def test_a_damaged_source_is_told_before_the_first_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = small.make_data(tmp_path / "data")
    path.write_text(path.read_text() + "\tno image\n")
    train(small.recipe(path, steps=1), tmp_path / "run")
    said = capsys.readouterr().err
    assert 0 < said.index("row 25 has no image") < said.index("step 1/1")


def test_a_run_that_never_began_keeps_nobody_out(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vocabulary"):
        train(override(small.recipe(data), ["vocabulary=3"]), tmp_path / "run")
    assert train(small.recipe(data, steps=1), tmp_path / "run").finished


def test_a_run_outlives_the_reader_of_its_progress(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: str) -> int:
        raise BrokenPipeError

    recipe = small.recipe(data, steps=2)
    monkeypatch.setattr(sys.stderr, "write", gone)
    assert train(recipe, tmp_path / "run").finished


def test_a_text_tower_is_trained_with_its_own_kind_of_tokenizer(data: Path, tmp_path: Path) -> None:
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *sorted({*["a", "red", "green", "blue", "grey", "card", "number"], *"0123456789"}),
    ]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    plain = small.recipe(data, steps=2)
    text = BertSpec(context_length=12, vocabulary_size=len(words), width=16, layers=1, heads=2)
    model = dataclasses.replace(plain.model, text=text, tokenizer="word_piece")
    run = train(dataclasses.replace(plain, model=model, vocabulary=str(tmp_path / "vocab.txt")), tmp_path / "run")
    assert run.clip.spec.tokenizer == "word_piece"
    assert run.clip.tokenizer is not None
    assert run.clip.tokenizer.vocabulary_size == len(words)
    assert diptych.load(tmp_path / "run" / "model").encode_texts("a red card").shape == (1, 16)


def test_a_vocabulary_that_is_not_there_is_told_before_anything_is_decoded(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = override(small.recipe(data), ["vocabulary=nowhere", "data.in_memory=true"])
    with pytest.raises(ConfigError, match="there is no 'nowhere'"):
        train(recipe, tmp_path / "run")
    assert "decoding" not in capsys.readouterr().err


def test_a_part_as_large_as_the_batch_is_said_to_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = small.make_data(tmp_path / "data")
    told = {}
    for micro_batch in (4, 16):
        train(override(small.recipe(data, steps=1), [f"micro_batch={micro_batch}"]), tmp_path / str(micro_batch))
        told[micro_batch] = "so it changes nothing" in capsys.readouterr().err
    assert told == {4: False, 16: True}
