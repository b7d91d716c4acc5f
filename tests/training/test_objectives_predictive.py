"""Objectives in which an image predicts its caption's words, or the caption: what they are, and that they train."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import diptych
from diptych.checkpoints.bundle import read
from diptych.cli.main import main
from diptych.config import override
from diptych.data.sources import open_source
from diptych.encoder.captioner import Captioner, load_captioner
from diptych.errors import CheckpointError, ConfigError
from diptych.evaluation.tasks import evaluate
from diptych.models.captioner import CaptionModel, create_caption_model
from diptych.models.clip import CLIP, create_model
from diptych.specs import BagOfWordsSpec, CaptionTransformerSpec, ModelSpec, VisionTransformerSpec
from diptych.tokens import Tokens
from diptych.training import predictive
from diptych.training.forward import forward_of
from diptych.training.loop import train
from diptych.training.losses import LossSpec
from diptych.training.objectives import OBJECTIVES
from diptych.training.recipe import Recipe
from diptych.zoo import MODELS
from tests.models.twins import redraw, twin
from tests.training import small
from tests.training.processes import run_in_processes
from tests.training.test_processes import assert_trained_alike

IMAGES, CAPTIONS, LENGTH, START, END = 6, 2, 9, 58, 59
BAG = BagOfWordsSpec(context_length=16, vocabulary_size=60, width=24)
WRITER = CaptionTransformerSpec(context_length=16, vocabulary_size=60, width=24, layers=2, heads=2)
TEXTS = {"bag_of_words": BAG, "caption": WRITER}
both = pytest.mark.parametrize("objective", TEXTS)


def spec_of(objective: str) -> ModelSpec:
    return dataclasses.replace(twin(MODELS["ViT-B/32"]), text=TEXTS[objective])


def model_of(objective: str) -> CLIP | CaptionModel:
    create = create_model if objective == "bag_of_words" else create_caption_model
    return redraw(create(spec_of(objective), seed=0)).train()


def texts() -> Tokens:
    """Of several lengths, one of them without a word."""
    generator = torch.Generator().manual_seed(0)
    ids_BL = torch.randint(1, START, (IMAGES * CAPTIONS, LENGTH), generator=generator)
    lengths_B = torch.tensor([9, 3, 2, 5, 4, 7, 6, 8, 3, 3, 9, 4])
    ids_BL[:, 0] = START
    ids_BL[torch.arange(len(ids_BL)), lengths_B - 1] = END
    ids_BL[3, 1:4] = ids_BL[3, 1]  # one word, thrice
    return Tokens(ids_BL.masked_fill(torch.arange(LENGTH) >= lengths_B[:, None], 0), lengths_B)


def pixels() -> torch.Tensor:
    return torch.randn(IMAGES, 3, 96, 96, generator=torch.Generator().manual_seed(1))


def apply(objective: str, model: Any, images: slice = slice(None), **options: Any) -> tuple[float, dict[str, float]]:
    rows = slice(None) if images == slice(None) else slice(CAPTIONS * images.start, CAPTIONS * images.stop)
    tokens = texts()
    loss, metrics = OBJECTIVES[objective](
        forward_of(model, torch.float32),
        pixels()[images],
        Tokens(tokens.ids_BL[rows], tokens.lengths_B[rows]),
        image_ids_B=torch.arange(IMAGES)[images],
        text_ids_M=torch.arange(IMAGES * CAPTIONS)[rows],
        loss=LossSpec(),
        **options,
    )
    return loss.item(), {name: value.item() for name, value in metrics.items()}


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def words_of(row: int) -> list[int]:
    tokens = texts()
    return tokens.ids_BL[row, 1 : tokens.lengths_B[row] - 1].tolist()


def test_the_loss_of_a_bag_of_words_is_that_of_its_definition() -> None:
    model = model_of("bag_of_words")
    images = F.normalize(model.encode_image(pixels()), dim=1)
    alone = torch.cat(
        [model.encode_text(Tokens(torch.tensor([[START, word, END]]), torch.tensor([3]))) for word in range(60)]
    )
    logs = (model.logit_scale.exp() * images @ F.normalize(alone, dim=1).T).log_softmax(dim=1)
    expected, hits = 0.0, 0
    for row in range(IMAGES * CAPTIONS):
        own = logs[row // CAPTIONS]
        for word in words_of(row):
            expected -= own[word].item() / len(words_of(row)) / (IMAGES * CAPTIONS)
        hits += int(own.argmax()) in words_of(row)
    loss, metrics = apply("bag_of_words", model)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert metrics["word_accuracy"] == pytest.approx(hits / (IMAGES * CAPTIONS))


def test_the_loss_of_a_caption_is_that_of_its_definition() -> None:
    """A token at a time, so that no place can have seen what it is to predict."""
    model, tokens = model_of("caption"), texts()
    images = model.image(pixels())[0]
    logs: list[torch.Tensor] = []
    for row, length in enumerate(tokens.lengths_B.tolist()):
        written = [START]
        for goal in tokens.ids_BL[row, 1:length].tolist():
            # The likelihood of a text less that of what it begins with.
            prefix = Tokens(torch.tensor([[*written, goal]]), torch.tensor([len(written) + 1]))
            before = Tokens(torch.tensor([written]), torch.tensor([len(written)]))
            logs.append(model.text(images[row // 2, None], prefix)[0])
            if len(written) > 1:
                logs[-1] = logs[-1] - model.text(images[row // 2, None], before)[0]
            written.append(goal)
    assert len(logs) == (tokens.lengths_B - 1).sum()
    assert apply("caption", model)[0] == pytest.approx(-torch.stack(logs).mean().item(), rel=1e-5)


def test_the_tokens_that_may_follow_have_probabilities_that_add_up_to_one() -> None:
    model = model_of("caption")
    every = Tokens(torch.tensor([[START, 7, token] for token in range(60)]), torch.full((60,), 3))
    first = Tokens(torch.tensor([[START, 7]]), torch.tensor([2]))
    images = model.image(pixels()[:1])[0]
    follow = model.text(images.expand(60, -1), every) - model.text(images, first)
    assert follow.exp().sum().item() == pytest.approx(1, rel=1e-5)


@both
@pytest.mark.parametrize("micro_batch", [1, 4])
def test_parts_of_a_batch_give_its_loss_and_gradient(objective: str, micro_batch: int) -> None:
    places = torch.rand(IMAGES, 9, generator=torch.Generator().manual_seed(1)).argsort(dim=1)[:, :5]
    whole, model = model_of(objective), model_of(objective)
    expected, metrics = apply(objective, whole, places_BK=places)
    loss, found = apply(objective, model, places_BK=places, micro_batch=micro_batch)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert found == pytest.approx(metrics)
    assert gradients(model).keys() == dict(model.named_parameters()).keys()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, gradients(whole)[name], rtol=1e-3, atol=1e-5, msg=lambda m, n=name: n + m)


def test_blocks_of_scores_give_the_same_loss_and_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, model = model_of("bag_of_words"), model_of("bag_of_words")
    expected, metrics = apply("bag_of_words", whole)
    monkeypatch.setattr(predictive, "SCORES_AT_ONCE", 60 * 4)
    loss, found = apply("bag_of_words", model)
    assert loss == pytest.approx(expected, rel=1e-6)
    assert found == metrics
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, gradients(whole)[name], rtol=1e-4, atol=1e-6)


def share(objective: str) -> tuple[float, dict[str, float], dict[str, torch.Tensor]]:
    """The loss, metrics and gradient of this process's half of the batch."""
    rank = torch.distributed.get_rank()
    model = model_of(objective)
    loss, metrics = apply(objective, model, slice(3 * rank, 3 * rank + 3))
    return loss, metrics, gradients(model)


def shares() -> dict[str, Any]:
    return {objective: share(objective) for objective in TEXTS}


def test_gradients_of_two_processes_add_up_to_that_of_one(tmp_path: Path) -> None:
    first, second = run_in_processes(2, shares, folder=tmp_path)
    for objective in TEXTS:
        model = model_of(objective)
        expected, metrics = apply(objective, model)
        for loss, found, _ in (first[objective], second[objective]):
            assert loss == pytest.approx(expected, rel=1e-5)
            assert found == pytest.approx(metrics)
        for name, gradient in gradients(model).items():
            total = first[objective][2][name] + second[objective][2][name]
            torch.testing.assert_close(total, gradient, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: n + m)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("data"))


def recipe(objective: str, data: Path, **changes: Any) -> Recipe:
    plain = small.recipe(data, every_steps=3)
    text = dataclasses.replace(TEXTS[objective], width=32)
    model = dataclasses.replace(plain.model, text=text)
    return dataclasses.replace(plain, model=model, objective=objective, **changes)


@both
def test_a_run_that_was_stopped_goes_on_bit_for_bit(objective: str, data: Path, tmp_path: Path) -> None:
    wanted = recipe(objective, data, duration="6 steps", micro_batch=4)
    train(wanted, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped" / "model")
    shutil.rmtree(tmp_path / "stopped" / "checkpoints" / "step-000000006")
    train(wanted, tmp_path / "stopped", resume=True)
    ours, theirs = (read(tmp_path / name / "model") for name in ("whole", "stopped"))
    assert ours.weights.keys() == theirs.weights.keys()
    for name, tensor in ours.weights.items():
        assert torch.equal(tensor, theirs.weights[name]), name
    lines = [json.loads(line) for line in (tmp_path / "stopped" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert ("logit_scale" in lines[0]) == (objective == "bag_of_words")


def coloured(folder: Path) -> Path:
    """A folder of images for each colour, other ones than those trained on."""
    random = np.random.default_rng(1)
    for name, colour in small.COLOURS.items():
        (folder / name).mkdir(parents=True)
        for index in range(5):
            image = np.clip(np.array(colour) + random.normal(0, 12, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(folder / name / f"{index}.png")
    return folder


@pytest.mark.parametrize(("objective", "steps"), [("bag_of_words", 40), ("caption", 150)])
def test_it_learns_to_tell_classes_apart(objective: str, steps: int, data: Path, tmp_path: Path) -> None:
    """With text weights in half precision, which is the harder case."""
    seen: list[float] = []

    def judge(model: Any) -> dict[str, float]:
        result = evaluate(model, classes, "zero-shot", templates=["a {} card"])
        seen.append(result.metrics["acc1"])
        return result.metrics

    classes = open_source(coloured(tmp_path / "classes"))
    named = data.with_name("named.tsv")
    named.write_text(re.sub(r" number \d+", "", data.read_text(encoding="utf-8")), encoding="utf-8")
    options = [f"duration={steps} steps", f"checkpoints.every_steps={steps}", f"evaluate_every={steps}"]
    options += ["optimizer.learning_rate=5e-3", "optimizer.half_statistics=true"]
    options += ["precision=bf16", "half_text_weights=true"]
    run = train(override(patches(objective, named), options), tmp_path / "run", evaluators={"classes": judge})
    assert seen == [1.0]
    loaded = (load_captioner if objective == "caption" else diptych.load)(tmp_path / "run" / "model")
    assert evaluate(loaded, classes, templates=["a {} card"]).metrics["acc1"] == 1.0
    assert isinstance(run.trained, Captioner) == (objective == "caption")


def patches(objective: str, data: Path, **changes: Any) -> Recipe:
    """Without batch norms, whose statistics are of each process's part."""
    plain = recipe(objective, data, **changes)
    image = VisionTransformerSpec(image_size=32, patch_size=16, width=32, layers=1, heads=2)
    return dataclasses.replace(plain, model=dataclasses.replace(plain.model, image=image))


def train_both(data: Path, out: Path, **changes: Any) -> None:
    for objective in TEXTS:
        train(patches(objective, data, duration="3 steps", **changes), out / objective)


def test_processes_that_have_a_part_of_the_model_each_train_as_one_does(data: Path, tmp_path: Path) -> None:
    train_both(data, tmp_path / "alone")
    run_in_processes(2, sharded, data, tmp_path / "parts", folder=tmp_path)
    for objective in TEXTS:
        assert_trained_alike(tmp_path / "parts" / objective, tmp_path / "alone" / objective)


def sharded(data: Path, out: Path) -> None:
    train_both(data, out, sharding="full", micro_batch=3)


@pytest.fixture(scope="module")
def written(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "run"
    run = train(recipe("caption", data, duration="2 steps"), folder)
    with pytest.raises(ConfigError, match=r"is no CLIP; take run\.trained"):
        _ = run.clip
    return folder / "model"


def test_a_bundle_of_captions_does_not_pass_for_a_clip(written: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"embeds no texts, so it is no CLIP; .*load_captioner opens it"):
        diptych.load(written)
    captioner = load_captioner(written)
    with pytest.raises(ConfigError, match="embeds no texts, so it retrieves none"):
        evaluate(captioner, open_source(data, captions=["caption"]), "retrieval")
    with pytest.raises(ConfigError, match="embeds no texts"):
        diptych.create(captioner.spec, seed=0)
    clip = diptych.create(dataclasses.replace(captioner.spec, text=BAG), seed=0)
    clip.save(tmp_path / "clip", format="diptych")
    with pytest.raises(CheckpointError, match=r"writes no captions; diptych\.load opens it"):
        load_captioner(tmp_path / "clip")


def test_likelihoods_of_many_pairs_are_those_of_each(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captioner = load_captioner(written)
    names = ["a red card", "grey", "a blue card number 17", "a green card number 1"]
    images = captioner.encode_pixels(torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    tokens = captioner.tokenizer(names)
    expected = np.empty((5, 4))
    for i in range(5):
        for j in range(4):
            one = Tokens(tokens.ids_BL[j, None], tokens.lengths_B[j, None])
            expected[i, j] = captioner.model.text(torch.from_numpy(images[i, None]), one).item()
    monkeypatch.setattr("diptych.encoder.captioner.PAIRS_AT_ONCE", 3)
    assert captioner.log_likelihoods(images, names) == pytest.approx(expected, rel=1e-5)
    scores = captioner.class_scores(images, ["red", "blue"], ["a {} card", "{}"])
    pairs = captioner.log_likelihoods(images, ["a red card", "red", "a blue card", "blue"]).reshape(5, 2, 2)
    assert scores == pytest.approx(np.log(np.exp(pairs).mean(axis=2)), rel=1e-4)


@pytest.mark.parametrize(
    ("objective", "changes", "told"),
    [
        ("bag_of_words", ["objective=caption"], "objective caption needs model.text.kind caption_transformer, not bag"),
        ("caption", ["objective=bag_of_words"], "objective bag_of_words needs model.text.kind bag_of_words, not cap"),
        ("caption", ["objective=contrastive"], "embeds no texts, which objective contrastive needs"),
        ("caption", ["objective=captions"], "objective is 'captions'"),
        (
            "caption",
            ["loss.label_smoothing=0.1"],
            "caption has none of them; --set 'loss=\\{\\}' takes",
        ),
        ("bag_of_words", ["loss.equal_captions=ignored"], "values of loss are of objective contrastive"),
        ("bag_of_words", ["model.scores=sigmoid"], "objective bag_of_words needs model.scores softmax, not sigmoid"),
    ],
)
def test_what_makes_no_sense_is_told(objective: str, changes: list[str], told: str, data: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        override(recipe(objective, data), changes)


def test_an_objective_and_its_text_tower_are_set_together(data: Path) -> None:
    text = '{"kind": "caption_transformer", "context_length": 16, "width": 32, "layers": 1, "heads": 2}'
    changed = override(small.recipe(data), ["objective=caption", f"model.text={text}"])
    assert isinstance(changed.model.text, CaptionTransformerSpec)


def test_a_validation_that_could_only_be_retrieved_from_is_refused_before_the_first_step(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = '{"kind": "caption_transformer", "context_length": 16, "width": 32, "layers": 1, "heads": 2}'
    command = ["train", "small-photographs", "--data", str(data), "--captions", "caption", "--out", str(tmp_path / "a")]
    for value in ("objective=caption", f"model.text={text}", "loss={}", "batch_size=8", "duration=1 steps"):
        command += ["--set", value]
    assert main([*command, "--validation", str(data)]) == 2
    assert "embeds no texts, so that it can only be judged by classes" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_bag_of_words_may_also_be_contrasted(data: Path, tmp_path: Path) -> None:
    run = train(recipe("bag_of_words", data, duration="1 steps"), tmp_path / "a")
    other = train(override(recipe("bag_of_words", data), ["objective=contrastive", "duration=1 steps"]), tmp_path / "b")
    assert run.clip.spec == other.clip.spec
    told = [json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[0]) for name in "ab"]
    assert "word_accuracy" in told[0]
    assert "image_to_text_accuracy" in told[1]
