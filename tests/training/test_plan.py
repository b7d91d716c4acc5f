"""The dry run: its memory is that of real steps, and what does not fit is told."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from diptych.cli.main import main
from diptych.config import override
from diptych.data.loader import Batch
from diptych.models.clip import create_model
from diptych.specs import SiglipVisionSpec
from diptych.text.tokenizer import Tokenizer
from diptych.tokens import Tokens
from diptych.training import plan as planning
from diptych.training import recipes
from diptych.training.advice import warnings_of
from diptych.training.inputs import source_of
from diptych.training.memory import Memory, Part, footprint
from diptych.training.pace import pace
from diptych.training.plan import Plan, plan
from diptych.training.recipe import Recipe
from diptych.training.session import Session
from diptych.zoo import MODELS
from tests.training import small

SMALL_VIT = [f"model.{tower}.{size}" for tower in ("image", "text") for size in ("layers=3", "width=192", "heads=3")]
LENGTHS = (9, 20)
PARTS = ["image_tower.learns=last 1 blocks", "text_tower.learns=adapters of rank 4", "start.weights=elsewhere"]


def measured(recipe: Recipe, folder: Path) -> Memory:
    """What the parts of a real session take, and the most that its second step has at a time by PyTorch's own account
    of what it allocates and frees."""
    tokenizer = Tokenizer([], context_length=recipe.model.text.context_length)
    spec = recipe.model.with_vocabulary(tokenizer.vocabulary_size)
    session = Session(recipe, folder, create_model(spec, seed=0), tokenizer, samples=100, data="")
    size, images, captions = recipe.model.preprocess.size, recipe.batch_size, recipe.data.captions_per_image

    def batch(step: int) -> Batch:
        lengths_M = torch.tensor(LENGTHS).repeat(images * captions // 2)
        tokens = Tokens(torch.zeros(len(lengths_M), max(LENGTHS), dtype=torch.int64), lengths_M)
        pixels_BCHW = torch.randn(images, 3, size, size)
        ids_M = torch.arange(len(lengths_M))
        return Batch(pixels_BCHW, tokens, ids_M[:images], ids_M, (), (), step * images, 0)

    session.advance(batch(0), 10)
    session.engine.optimizer.zero_grad(set_to_none=True)
    there = [*session.model.parameters(), *session.model.buffers()]
    kept = [t for state in session.engine.optimizer.state.values() for name, t in state.items() if name != "step"]
    second = batch(1)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        session.advance(second, 10)
    average = [*session.average.tensors.values()] if session.average else []
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = bytes_of(there) + bytes_of(kept) + bytes_of(average) + bytes_of([second.pixels_BCHW])
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    gradients = [parameter.grad for parameter in session.model.parameters() if parameter.requires_grad]
    return Memory(
        weights=bytes_of(there),
        average=bytes_of(average),
        optimizer=bytes_of(kept),
        gradients=bytes_of(gradients),
        activations=None,
        loss=0,
        batch=0,
        peak=most,
    )


def bytes_of(tensors: list[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("small-photographs", ["batch_size=16"]),
        ("vit-b-32", ["batch_size=16", "precision=fp32", "patch_dropout=0.5", *SMALL_VIT]),
        ("vit-b-32", ["batch_size=16", "precision=fp32", "micro_batch=4", *SMALL_VIT]),
        ("vit-b-32", ["batch_size=16", "optimizer.half_statistics=true", "half_text_weights=true", *SMALL_VIT]),
        ("vit-b-32", ["batch_size=16", "optimizer.algorithm=muon", "ema=0.9", *PARTS, *SMALL_VIT]),
        (
            "vit-b-32",
            ["batch_size=16", "start.weights=elsewhere", "image_tower.learns=nothing", "precision=fp32", *SMALL_VIT],
        ),
    ],
    ids=["RN-mini", "ViT-patches", "ViT-cached", "ViT-half", "ViT-parts", "ViT-locked"],
)
def test_memory_is_that_of_a_real_step(name: str, changes: list[str], tmp_path: Path) -> None:
    recipe = override(recipes.find(name)("nowhere"), changes)
    part = Part(
        images=recipe.batch_size,
        captions=recipe.data.captions_per_image,
        in_towers=recipe.micro_batch or recipe.batch_size,
        lengths=LENGTHS,
    )
    told = footprint(recipe, recipe.model.with_vocabulary(514), part, device="cpu").of(part)
    real = measured(recipe, tmp_path)
    assert told.weights == pytest.approx(real.weights, rel=1e-3)  # but for how many batches norms have seen
    assert told.optimizer == real.optimizer
    assert told.gradients == real.gradients
    assert told.peak == pytest.approx(real.peak, rel=0.2)


def small_plan(tmp_path: Path, *changes: str, processes: int = 1) -> Plan:
    recipe = override(small.recipe(small.make_data(tmp_path / "data")), changes)
    return plan(recipe, processes=processes)


def test_a_plan_says_what_a_run_will_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = small_plan(tmp_path, "batch_size=6", "duration=3 epochs", "data.captions_per_image=2")
    session = Session.begin(told.recipe, tmp_path / "run", lambda: told.tokenizer, samples=24, data="")
    assert told.spec == session.model.spec
    assert told.parameters["all"] == sum(p.numel() for p in session.model.parameters())
    assert (told.steps, told.epochs) == (12, 3.0)
    assert told.part == Part(images=6, captions=2, in_towers=6, lengths=told.part.lengths)
    assert told.flops_of_sample == told.image.both + 2 * told.text.both
    assert told.data.samples == told.data.looked_at == 24
    assert told.data.sides == (40, 40, 40)
    assert told.runs
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert plan(told.recipe).part.images == 2
    shared = dataclasses.replace(told, local_processes=4, there=4 * told.memory.peak - 1)
    assert not shared.fits  # the processes of a machine share what a processor has
    assert dataclasses.replace(shared, device="cuda").fits


def test_nothing_is_allocated_before_the_plan_is_printed(tmp_path: Path) -> None:
    recipe = override(recipes.vit_b_32(str(small.make_data(tmp_path))), ['data.captions=["caption"]'])
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        told = plan(recipe, processes=256)
    taken = max(event.nbytes() for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]")
    assert taken < 2**20
    assert told.memory.peak > 2**31


@pytest.mark.parametrize(
    ("changes", "processes", "warning"),
    [
        (["batch_size=32"], 1, "training refuses that: --set batch_size=6 or less"),
        (["batch_size=8"], 3, "no multiple of the 3 processes, and training refuses that: --set batch_size=6"),
        (["micro_batch=3"], 1, "micro_batch (3) does not divide a process's 8 images"),
        (["micro_batch=4"], 2, "micro_batch is 4, but a process has 4 images of a batch, so it changes nothing"),
        (["micro_batch=4"], 1, "batch norms see 4 images at a time, not all 8"),
        (["data.workers=3"], 1, "2 of 3 workers of a process have nothing to do"),
        (["model.text.context_length=5"], 1, "100.0% of the captions are longer than the context of 5 tokens"),
        (["model.text.context_length=77"], 1, "of the 77 tokens of the context"),
        (["vocabulary=5000"], 1, "entries only, of the 5,000 asked for"),
        (["data.captions_per_image=2"], 1, "some of the 2 drawn at a visit are the same"),
        (["optimizer.warmup_steps=12"], 1, "the warm-up of 12 steps is as long as the run of 12"),
        (["duration=1 steps"], 1, "the run sees 33% of the data only"),
    ],
)
def test_what_does_not_fit_is_told(changes: list[str], processes: int, warning: str, tmp_path: Path) -> None:
    told = small_plan(tmp_path, *changes, processes=processes)
    assert sum(warning in line for line in warnings_of(told)) == 1
    assert " ".join(warning.split()) in " ".join(str(told).split())


def test_a_plan_that_fits_warns_of_nothing(tmp_path: Path) -> None:
    assert warnings_of(small_plan(tmp_path, "vocabulary=530", "model.text.context_length=16")) == []


def test_shards_and_patches_and_small_images(tmp_path: Path) -> None:
    told = small_plan(tmp_path)
    siglip = dataclasses.replace(MODELS["ViT-SO400M/14-SigLIP-384"])
    assert isinstance(siglip.image, SiglipVisionSpec)
    assert any("6 px at an edge are not seen" in line for line in warnings_of(dataclasses.replace(told, spec=siglip)))
    assert any("will be enlarged" in line for line in warnings_of(dataclasses.replace(told, spec=siglip)))
    data = dataclasses.replace(told.data, shards=3)
    workers = override(told.recipe, ["data.workers=2"])
    lines = warnings_of(dataclasses.replace(told, data=data, recipe=workers, processes=2))
    assert any(line.startswith("3 shards for 4 workers") for line in lines)
    many = dataclasses.replace(told.data, samples=10**6)
    decoded = override(told.recipe, ["data.in_memory=true"])
    lines = warnings_of(dataclasses.replace(told, data=many, recipe=decoded))
    assert any(line.startswith("all images together take 4.5 GiB") for line in lines)


def test_a_step_too_large_for_the_machine_is_not_done_and_a_smaller_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = small_plan(tmp_path)
    third = dataclasses.replace(whole.part, in_towers=2)
    monkeypatch.setattr(planning, "there_is", lambda _: whole.footprint.of(third).peak)
    told = small_plan(tmp_path)
    assert not told.runs
    assert any("--set micro_batch=2 fits" in line for line in warnings_of(told))
    data = tmp_path / "data" / "pairs.tsv"
    assert main(["train", "small-drawings", "--data", str(data), "--plan", "--set", "batch_size=8"]) == 0
    assert "not measured" in capsys.readouterr().out


def test_the_command_line_plans_and_times_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = small.make_data(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    changes = ["batch_size=8", "model.image.stem_width=8", "model.image.heads=8", "precision=fp32", "data.workers=0"]
    arguments = [part for change in changes for part in ("--set", change)]
    assert main(["train", "small-drawings", "--data", str(data), "--captions", "caption", "--plan", *arguments]) == 0
    page = capsys.readouterr().out
    headings = [line for line in page.splitlines() if line and not line.startswith(" ")]
    assert headings[:4] == ["small-drawings: RN-mini on pairs, one process on cpu", "parameters", "data", "run"]
    assert "an epoch" in headings[-1]
    assert max(map(len, page.splitlines())) <= 120
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_training_needs_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "small-drawings", "--data", str(small.make_data(tmp_path))]) == 2
    assert "--out" in capsys.readouterr().err


def test_what_takes_too_long_is_timed_on_part_of_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diptych.training.pace._PROBE", 4)
    told = small_plan(tmp_path, "batch_size=24")
    assert pace(told, source_of(told.recipe)).images == 24
    monkeypatch.setattr("diptych.training.pace.PATIENCE", 1e-9)
    part = pace(told, source_of(told.recipe))
    assert part.images == 4
    assert part.step == pytest.approx(6 * part.timed)
    assert part.epoch == pytest.approx(part.step)
