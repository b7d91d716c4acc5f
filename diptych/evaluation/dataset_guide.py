"""The table of data sets in words: in the guide, and as ``diptych datasets`` prints it."""

from __future__ import annotations

from collections.abc import Sequence

from diptych.data.published.layouts import LAYOUTS
from diptych.evaluation.datasets import DATASETS, Metric, Row
from diptych.text import prompts

HEADER = ("name", "data set", "classes", "train", "test", "reported", "published form has")

# What is reported, in words.
METRICS: dict[Metric, str] = {
    "acc1": "accuracy",
    "mean_per_class_recall": "mean per class",
    "map11": "11-point mAP",
    "roc_auc": "ROC AUC",
    "mean_acc1_acc5": "mean of top-1 and top-5",
    "image_retrieval_recall@1": "recall at 1",
}


def table() -> str:
    """Markdown: one line a data set, with the paper's test size, and the files that tell its published form."""
    head = "| name | data set | classes | the paper's test | reported | published form, by its file | tars |\n"
    return head + "|---|---|---|---|---|---|---|\n" + "".join(f"{_line(row)}\n" for row in DATASETS.values())


def overview() -> list[tuple[str, ...]]:
    """A row of ``HEADER`` a data set: sizes are the paper's, or else CLIP_benchmark's or the published ones, and the
    last is by what file or folder its published form is known."""
    return [
        (
            row.name,
            row.title,
            _number(row.classes),
            _number(_size(row, "train")),
            _number(_size(row, row.split)),
            METRICS[row.metric],
            ", ".join(LAYOUTS[layout].marks[0] for layout in row.published) or "class folders",
        )
        for row in DATASETS.values()
    ]


def described(row: Row) -> str:
    """All of one data set: what it is, what is reported of it, its sizes, and where its data are looked for."""
    templates = row.templates or prompts.templates(row.prompts)
    several = "".join(f", {number:,} in the layout {layout}" for layout, number in row.classes_in.items())
    facts = {
        "data set": row.title,
        "also called": ", ".join(row.aliases),
        "classes": "" if row.classes is None else f"{row.classes:,}{several}",
        "shift of": row.classes_of and f"{row.classes_of}, of whose classes it has all, some or groups",
        "reported": f"{row.metric}, {METRICS[row.metric]}, of the split {row.split!r}",
        "prompts": "" if row.kind == "retrieval" else f"{row.prompts}: {len(templates)}, the first is {templates[0]!r}",
        "class names": row.names and "come with Diptych, where the files only number classes",
    }
    lines = [f"{name + ':':13}{told}" for name, told in facts.items() if told]
    return "\n".join([*lines, "", *_sizes(row), *_places(row)])


def _sizes(row: Row) -> list[str]:
    if not row.sizes:
        return ["Its sizes are not known for certain.", ""]
    lines = [
        f"  {layout:15}{', '.join(f'{split} {number:,}' for split, number in splits.items())}"
        for layout, splits in row.sizes.items()
    ]
    return ["Images by layout; other sizes are remarked upon in the result:", *lines, ""]


def _places(row: Row) -> list[str]:
    commands = [f"  diptych evaluate MODEL {row.name}=FOLDER"]
    if row.hub:
        commands.append(f"  diptych evaluate MODEL {row.name}=hf:clip-benchmark/{row.hub}")
    forms = [(_any(LAYOUTS[layout].marks), ", ".join(LAYOUTS[layout].splits)) for layout in row.published]
    lines = [f"  as published: {marks}, in it or up to two folders down; splits {splits}" for marks, splits in forms]
    if row.kind != "retrieval":
        lines.append("  class folders: a folder of images a class, below train/, val/ and test/ or without these")
    tars = "test/0.tar ... with test/nshards.txt" + (", and classnames.txt" if row.kind != "retrieval" else "")
    return [
        "To measure on it, say where it lies:",
        *commands,
        "",
        "FOLDER has one of",
        *lines,
        f"  CLIP_benchmark's tars: {tars}",
    ]


def _any(marks: Sequence[str]) -> str:
    return " or ".join(marks[:2]) + (" ..." if len(marks) > 2 else "")


def _size(row: Row, split: str) -> int | None:
    """Of the paper, whose test split is the one that is evaluated, or of the first layout that has it."""
    if "paper" in row.sizes:
        return row.sizes["paper"].get("train" if split == "train" else "test")
    return next((sizes[split] for sizes in row.sizes.values() if split in sizes), None)


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _line(row: Row) -> str:
    cells = (
        f"`{row.name}`",
        row.title,
        _number(row.classes),
        _number(row.sizes.get("paper", {}).get("test")),
        f"`{row.metric}`",
        " or ".join(f"`{LAYOUTS[layout].marks[0]}`" for layout in row.published) or "class folders",
        f"`hf:clip-benchmark/{row.hub}`" if row.hub else "",
    )
    return f"| {' | '.join(cells)} |"
