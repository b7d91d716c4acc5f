"""What a run costs, over interruptions and on several processes."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from diptych import distributed
from diptych.models.clip import CLIP, hollow
from diptych.models.flops import flops
from diptych.training import accounting, loop
from diptych.training.accelerators import peak_flops
from diptych.training.accounting import read_accounting
from diptych.training.loop import Run, train
from diptych.training.session import Session
from diptych.training.watch import read_metrics
from tests.training import small
from tests.training.processes import run_in_processes


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return small.make_data(tmp_path / "data")


def steps_of(folder: Path) -> list[dict[str, float]]:
    return [line for line in read_metrics(folder / "metrics.jsonl") if "loss" in line]


def test_a_run_counts_what_its_samples_need(data: Path, tmp_path: Path) -> None:
    run = train(small.recipe(data, steps=4), tmp_path / "run")
    told = read_accounting(tmp_path / "run")
    lines = steps_of(tmp_path / "run")
    cost = flops(hollow(CLIP, run.clip.model.spec))
    lengths = [len(run.clip.tokenizer.encode(f"a {colour} card number 1")) for colour in small.COLOURS]
    cheapest = cost.image.both + cost.text(min(lengths)).both
    dearest = cost.image.both + cost.text(16).both
    assert 4 * 8 * cheapest <= told["flops"] <= 4 * 8 * dearest
    assert (told["steps"], told["samples"], told["pairs"], told["lost"]) == (4, 32, 32, [])
    assert told["flops"] == lines[-1]["flops"]
    assert told["device_hours"] == lines[-1]["device_hours"] == pytest.approx(lines[-1]["seconds"] / 3600)
    assert [line["flops"] for line in lines] == sorted({line["flops"] for line in lines})
    spent = lines[1]["flops"] - lines[0]["flops"]
    assert lines[1]["model_flops_per_second"] == pytest.approx(spent * lines[1]["samples_per_second"] / 8)
    assert all(line["skipped_samples"] == 0 <= line["data_wait"] for line in lines)
    assert "model_flops_utilisation" not in lines[0]  # nobody says what this processor can do
    assert "slowest_process" not in lines[0]


class Killed(BaseException):
    """As a kill: nothing after it is done."""


def test_a_kill_costs_what_is_done_again(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small.recipe(data, steps=8, every_steps=3)
    train(recipe, tmp_path / "whole")
    advance = Session.advance

    def killed(session: Session, *arguments: Any) -> dict[str, float]:
        if session.step == 5:
            raise Killed
        return advance(session, *arguments)

    monkeypatch.setattr(Session, "advance", killed)
    with pytest.raises(Killed):
        train(recipe, tmp_path / "run")
    monkeypatch.undo()
    before = steps_of(tmp_path / "run")
    monkeypatch.setattr(loop, "Watch", lambda *_, **__: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):  # after what was lost has been noted, before it is dropped from the metrics
        train(recipe, tmp_path / "run", resume=True)
    monkeypatch.undo()
    train(recipe, tmp_path / "run", resume=True)
    told, whole = read_accounting(tmp_path / "run"), read_accounting(tmp_path / "whole")
    assert told["flops"] == whole["flops"]
    assert told["samples"] == whole["samples"] == 64
    [lost] = told["lost"]
    assert (lost["after_step"], lost["until_step"]) == (3, 5)
    assert lost["flops"] == pytest.approx(before[4]["flops"] - before[2]["flops"])
    assert lost["device_hours"] > 0
    assert [line["flops"] for line in steps_of(tmp_path / "run")] == pytest.approx(
        [line["flops"] for line in steps_of(tmp_path / "whole")]
    )


def test_a_run_of_an_older_version_goes_on_with_what_is_known(data: Path, tmp_path: Path) -> None:
    recipe = small.recipe(data, steps=4, every_steps=2)
    train(recipe, tmp_path / "run")
    for name in ("model", "checkpoints/step-000000004"):
        (tmp_path / "run" / name).rename(tmp_path / name.replace("/", "-"))
    (tmp_path / "run" / accounting.FILE).unlink()
    lines = [{k: v for k, v in line.items() if k != "flops"} for line in steps_of(tmp_path / "run")[:2]]
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    written = json.loads((tmp_path / "run" / "recipe.json").read_text())
    del written["trackers"], written["patch_dropout"], written["loss"]["nested"]
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(written))
    assert train(recipe, tmp_path / "run", resume=True).finished
    assert read_accounting(tmp_path / "run")["flops"] > 0
    assert read_accounting(tmp_path / "run")["steps"] == 4


def test_waiting_for_data_is_told(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = loop.Loader.batches

    def slow(*arguments: Any, **named: Any) -> Iterator[Any]:
        for batch in batches(*arguments, **named):
            time.sleep(0.05)
            yield batch

    monkeypatch.setattr(loop.Loader, "batches", slow)
    train(small.recipe(data, steps=2), tmp_path / "run")
    assert all(line["data_wait"] >= 0.05 for line in steps_of(tmp_path / "run"))


def on_uneven_processes(data: Path, out: Path) -> Run | int:
    recipe = small.recipe(data, steps=2)
    if distributed.rank() == 1:
        batches = loop.Loader.batches

        def slow(*arguments: Any, **named: Any) -> Iterator[Any]:
            for batch in batches(*arguments, **named):
                time.sleep(0.4)
                yield batch

        loop.Loader.batches = slow
    return train(recipe, out).step


def test_a_slow_process_is_found_and_all_are_counted(data: Path, tmp_path: Path) -> None:
    run_in_processes(2, on_uneven_processes, data, tmp_path / "run", folder=tmp_path)
    train(small.recipe(data, steps=2), tmp_path / "alone")
    told, alone = read_accounting(tmp_path / "run"), read_accounting(tmp_path / "alone")
    assert told["flops"] == alone["flops"]
    assert told["samples"] == alone["samples"]
    last = steps_of(tmp_path / "run")[-1]
    assert told["device_hours"] == pytest.approx(2 * last["seconds"] / 3600)
    assert 1.2 < last["slowest_process"] <= 2  # the median of two lies between them


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4e12),
        ("NVIDIA H100 PCIe", "bf16", 756e12),
        ("NVIDIA A100-SXM4-80GB", "fp32", 19.5e12),
        ("Tesla V100-SXM2-16GB", "bf16", None),  # has no such unit
        ("Tesla T4", "fp16", 65e12),
        ("NVIDIA L40S", "bf16", 362e12),
        ("NVIDIA L4", "bf16", 121e12),
        ("NVIDIA GeForce RTX 4090", "bf16", 165.2e12),
        ("cpu", "fp32", None),
    ],
)
def test_the_best_that_a_device_can_do(name: str, precision: str, peak: float | None) -> None:
    assert peak_flops(name, precision) == peak


def test_utilisation_is_of_all_devices(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounting, "peak_flops", lambda *_: 1e12)
    train(small.recipe(data, steps=1), tmp_path / "run")
    [line] = steps_of(tmp_path / "run")
    assert line["model_flops_utilisation"] == pytest.approx(line["model_flops_per_second"] / 1e12)


def test_a_stopwatch_times_what_it_watches() -> None:
    class Slow(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            time.sleep(0.02)
            return x

    watch = accounting.Stopwatch(torch.device("cpu"))
    modules = Slow(), Slow()
    watch.watch(*modules)
    for module in modules:
        module(torch.zeros(1))
    assert watch.read() >= 0.04
    assert watch.read() == 0
