"""The table of data sets: complete, consistent, and the paper's."""

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from diptych.data.published import layouts as published
from diptych.errors import ConfigError
from diptych.evaluation import datasets
from diptych.evaluation.dataset_guide import HEADER, METRICS, described, overview, table
from diptych.evaluation.datasets import DATASETS, PAPER, RETRIEVAL, ROBUSTNESS, Kind, Metric, Row, find
from diptych.text import class_names, prompts

ROWS = pytest.mark.parametrize("row", DATASETS.values(), ids=DATASETS)
OF_KIND = {"map11": "multi-label", "roc_auc": "binary", "image_retrieval_recall@1": "retrieval"}
ITS_METRIC = {
    "accuracy": "acc1",
    "mean per class": "mean_per_class_recall",
    "11-point mAP": "map11",
    "ROC AUC": "roc_auc",
    "mean of top-1 and top-5": "mean_acc1_acc5",
    "accuracy (middle frame)": "acc1",
}


def test_all_that_is_asked_for_is_there():
    assert (len(PAPER), len(ROBUSTNESS), len(RETRIEVAL)) == (27, 7, 3)
    assert {DATASETS[name].classes_of for name in ROBUSTNESS} == {"imagenet1k"}
    assert [DATASETS[name].classes for name in ("imagenet-r", "imagenet-a", "imagenetv2")] == [200, 200, 1000]


@ROWS
def test_every_row_is_complete(row: Row):
    assert row.metric in get_args(Metric)
    assert row.kind in get_args(Kind)
    assert row.kind == OF_KIND.get(row.metric, "single label")
    assert prompts.ablation(row.prompts)["ensemble"]
    assert set(row.sizes) <= set(datasets.LAYOUTS)
    assert all(number > 0 for splits in row.sizes.values() for number in splits.values())
    assert set(row.published) <= set(published.LAYOUTS)
    assert row.classes_of in ("", *DATASETS)
    assert (row.classes is None) == (row.kind == "retrieval")
    if row.names:
        assert len(class_names.packaged(row.names)) in {row.classes, *row.classes_in.values()}
    for layout in row.published:
        if row.name not in ("imagenetv2", "imagenet-r", "imagenet-a", "imagenet_sketch"):
            assert row.split in published.LAYOUTS[layout].splits, "the split that is evaluated can be asked for"
    for layout, splits in row.sizes.items():
        if layout != "paper" and "all" not in splits:
            assert row.split in splits, layout


@ROWS
def test_a_row_is_found_by_all_its_names(row: Row):
    for name in (row.name, row.title, row.title.upper(), *row.aliases):
        assert find(name) is row
    for name in (row.name, *row.aliases):
        assert find(f"wds/{name}") is find(f"wds_{name.replace('/', '-')}") is row
    if row.hub:
        assert find(row.hub) is find(f"hf:clip-benchmark/{row.hub}") is row


def test_no_name_is_of_two_rows():
    names = [name for row in DATASETS.values() for name in datasets._called(row)]
    assert len(set(names)) == len(names)


def test_the_nearest_name_is_told():
    with pytest.raises(ConfigError, match=r"no data set 'wds/flowres'; did you mean 'flowers'"):
        find("wds/flowres")


@pytest.mark.parametrize(
    ("name", "classes", "train", "test"),
    [
        ("food101", 101, 75_750, 25_250), ("fer2013", 8, 32_140, 3_574), ("pcam", 2, 294_912, 32_768),
        ("voc2007_multilabel", 20, 5_011, 4_952), ("hateful_memes", 2, 8_500, 500),
        ("imagenet1k", 1000, 1_281_167, 50_000),
    ],
)  # fmt: skip
def test_some_of_the_papers_sizes(name, classes, train, test):
    row = DATASETS[name]
    assert (row.classes, row.sizes["paper"]) == (classes, {"train": train, "test": test})


def test_all_of_the_papers_sizes(shared_data):
    page = shared_data.parent / "paper.md"
    if not page.is_file():
        pytest.skip(f"the page of the paper's facts is not at {page}")
    lines = page.read_text(encoding="utf-8").partition("## 5.")[2].partition("## 6.")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| [A-Z]", line)]
    seen = []
    for title, classes, train, test, metric in cells:
        for name, number in zip(title.split(" / "), classes.split(" / "), strict=True):
            row = find(name)
            assert row.classes == int(number.replace(",", "")), name
            sizes = {"train": int(train.replace(",", "")), "test": int(test.replace(",", ""))}
            assert row.sizes["paper"] == sizes, name
            assert row.metric == ITS_METRIC[metric], name
            seen.append(row.name)
    assert sorted(seen) == sorted(PAPER)


def test_names_are_those_that_publishers_give(shared_data):
    """Numbers of classes, and country by country the order that the codes have."""
    page = shared_data / "prompts/data/prompts.md"
    if not page.is_file():
        pytest.skip(f"the published prompts are not at {page}")
    found: dict[str, list] = {}
    for section in page.read_text(encoding="utf-8").split("\n## ")[1:]:
        block = re.search(r"classes = (\[.*?\n\])", section, re.DOTALL)
        assert block
        found[section.partition("\n")[0]] = ast.literal_eval(block[1])
    for name, row in (("Country211", "country211"), ("GTSRB", "gtsrb"), ("RESISC45", "resisc45"), ("UCF101", "ucf101")):
        assert len(found[name]) == DATASETS[row].classes
    ours = class_names.packaged("country211")
    alike = sum(
        bool(set(re.findall(r"\w{4,}", theirs.lower())) & set(re.findall(r"\w{4,}", " ".join(names).lower())))
        for theirs, names in zip(found["Country211"], ours, strict=True)
    )
    assert alike > 195  # the rest are written otherwise, as Cabo Verde is


@ROWS
def test_what_is_told_of_a_row_is_all_that_a_newcomer_needs(row: Row):
    told = described(row)
    assert row.title in told
    assert METRICS[row.metric] in told
    assert f"diptych evaluate MODEL {row.name}=FOLDER" in told
    for layout, splits in row.sizes.items():
        line = next(line for line in told.splitlines() if line.strip().startswith(f"{layout} "))
        assert all(f"{split} {number:,}" in line for split, number in splits.items())
    for layout in row.published:
        assert published.LAYOUTS[layout].marks[0] in told
    assert (f"MODEL {row.name}=hf:clip-benchmark/{row.hub}" in told) == bool(row.hub)


def test_the_overview_has_a_line_a_data_set():
    lines = {line[0]: dict(zip(HEADER, line, strict=True)) for line in overview()}
    assert list(lines) == list(DATASETS)
    assert set(METRICS) == set(get_args(Metric))
    assert lines["hateful_memes"]["test"] == "500"  # the paper's, which is evaluated on val
    assert lines["imagenet-r"] == {
        "name": "imagenet-r", "data set": "ImageNet-R", "classes": "200", "train": "", "test": "30,000",
        "reported": "accuracy", "published form has": "val/n*/",
    }  # fmt: skip
    assert lines["eurosat"]["published form has"] == "class folders"


def test_the_guide_lists_what_the_table_holds():
    guide = Path(__file__).resolve().parents[2] / "docs" / "measuring.md"
    assert table() in guide.read_text(encoding="utf-8")
