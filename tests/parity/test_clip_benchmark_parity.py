"""A CLIP_benchmark folder gives the same numbers here as in CLIP_benchmark, and its CSV builder reads our results."""

import argparse
import csv
import dataclasses
import io
import tarfile
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from twins import bundle

pytest.importorskip("clip_benchmark", reason="CLIP_benchmark is not installed: make parity")

from clip_benchmark import cli
from clip_benchmark.datasets.builder import build_wds_dataset, get_dataset_collate_fn
from clip_benchmark.metrics import zeroshot_classification, zeroshot_retrieval

import diptych
from diptych.checkpoints.writing import write
from diptych.evaluation.tasks import evaluate
from diptych.text.tokenizer import Tokenizer

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

CLASSES = ("red thing", "green thing", "blue thing", "grey thing", "white thing", "black thing")
TEMPLATES = ("a photo of a {c}.", "one {c}")


def picture(i: int) -> bytes:
    pixels = np.random.default_rng(i).integers(0, 255, (40 + i % 5, 50, 3), np.uint8)
    pixels[..., i % 3] = 255 * (i % 2)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def tar(path: Path, samples: list[dict[str, bytes]]) -> None:
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w") as file:
        for i, sample in enumerate(samples):
            for extension, content in sample.items():
                member = tarfile.TarInfo(f"s{i:04}.{extension}")
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))
    (path.parent / "nshards.txt").write_text("1")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, as a folder that both open."""
    tokenizer = Tokenizer.train([f"a photo of a {name}" for name in CLASSES], vocabulary_size=530, context_length=16)
    whole = bundle("ViT-B/32", vocabulary=tokenizer.vocabulary_size)
    whole = dataclasses.replace(whole, tokenizer=tokenizer)
    return write(whole, tmp_path_factory.mktemp("model") / "clip", format="open_clip")


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "things"
    tar(folder / "test" / "0.tar", [{"cls": str(i % 6).encode(), "png": picture(i)} for i in range(90)])
    (folder / "classnames.txt").write_text("\n".join(CLASSES) + "\n")
    (folder / "zeroshot_classification_templates.txt").write_text("\n".join(TEMPLATES) + "\n")
    return folder


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pairs"
    words = ("red", "green", "blue", "grey", "photo", "thing")
    texts = [f"a {words[i % 6]} {words[i // 6 % 6]} number {i}\nseen {i} times" for i in range(60)]
    tar(folder / "test" / "0.tar", [{"txt": text.encode(), "png": picture(i)} for i, text in enumerate(texts)])
    (folder / "dataset_type.txt").write_text("retrieval")
    return folder


def theirs(folder: Path, model: Path, *, retrieval: bool = False) -> dict[str, float]:
    """What CLIP_benchmark's own functions measure, of OpenCLIP's reading of the model."""
    clip, _, transform = open_clip.create_model_and_transforms(f"local-dir:{model}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{model}")
    data = build_wds_dataset("wds/test", transform, split="test", data_dir=str(folder))
    collate = get_dataset_collate_fn("mscoco_captions" if retrieval else "imagenet1k")
    loader = torch.utils.data.DataLoader(data.batched(16, collation_fn=collate), batch_size=None)
    if retrieval:
        return zeroshot_retrieval.evaluate(clip.eval(), loader, tokenizer, "cpu", amp=False, recall_k_list=[1, 5, 10])
    weights = zeroshot_classification.zero_shot_classifier(
        clip.eval(), tokenizer, data.classes, data.templates, "cpu", amp=False
    )
    logits_NC, target_N = zeroshot_classification.run_classification(clip, weights, loader, "cpu", amp=False)
    # Its own ``accuracy`` makes numbers of arrays in a way that this NumPy refuses; the rest is as its ``evaluate``.
    ranked_NC = logits_NC.argsort(dim=1, descending=True)
    hits = {k: (ranked_NC[:, :k] == target_N[:, None]).any(dim=1).double().mean().item() for k in (1, 5)}
    recall = zeroshot_classification.balanced_accuracy_score(target_N, ranked_NC[:, 0])
    return {"acc1": hits[1], "acc5": hits[5], "mean_per_class_recall": recall}


def test_zero_shot_is_what_clip_benchmark_measures(model: Path, classified: Path) -> None:
    expected = theirs(classified, model)
    found = evaluate(diptych.load(model), classified)
    assert 0 < expected["acc1"] < 1
    for metric in ("acc1", "acc5", "mean_per_class_recall"):
        assert found.metrics[metric] == pytest.approx(expected[metric], abs=1e-9), metric


def test_retrieval_is_what_clip_benchmark_measures(model: Path, captioned: Path) -> None:
    expected = theirs(captioned, model, retrieval=True)
    found = evaluate(diptych.load(model), captioned, "retrieval")
    for side in ("text", "image"):
        for k in (1, 5, 10):
            name = f"{side}_retrieval_recall@{k}"
            assert found.metrics[name] == pytest.approx(expected[name], abs=1e-6), name  # theirs is fp32


def test_the_csv_builder_reads_our_results(model: Path, classified: Path, captioned: Path, tmp_path: Path) -> None:
    clip = diptych.load(model)
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    results = [evaluate(clip, classified), evaluate(clip, captioned, "retrieval")]
    for result, file in zip(results, files, strict=True):
        result.save(file)
    out = tmp_path / "benchmark.csv"
    cli.main_build(argparse.Namespace(files=[str(file) for file in files], output=str(out)))
    rows = list(csv.DictReader(out.open()))
    assert [row["task"] for row in rows] == ["zeroshot_classification", "zeroshot_retrieval"]
    assert float(rows[0]["acc1"]) == results[0].metrics["acc1"]
    assert float(rows[1]["text_retrieval_recall@5"]) == results[1].metrics["text_retrieval_recall@5"]
