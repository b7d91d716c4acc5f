"""What an evaluation yields: metrics with intervals and chance, and all it takes to know what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from diptych.config import from_dict, to_dict
from diptych.errors import ConfigError, DataError
from diptych.replacing import replacing

Interval = tuple[float, float]
Columns = dict[str, tuple[Any, ...]]
_OF_METRICS = ("metrics", "intervals", "chance")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a task measures. ``intervals`` are of 95 %; tables of predictions as in `Result`.

    details: what the metrics came from, as plain data for JSON.
    """

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    chance: dict[str, float]
    predictions: Columns = field(default_factory=dict)
    text_predictions: Columns = field(default_factory=dict)
    source_predictions: Columns = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def prefixed(self, prefix: str) -> Scores:
        """With this before the name of each metric."""
        renamed = {
            table: {f"{prefix}{name}": value for name, value in getattr(self, table).items()} for table in _OF_METRICS
        }
        return replace(self, **renamed)

    def without(self, metric: str) -> Scores:
        """Without this metric."""
        left = {
            table: {name: value for name, value in getattr(self, table).items() if name != metric}
            for table in _OF_METRICS
        }
        return replace(self, **left)


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of one evaluation.

    The first six fields are those of CLIP_benchmark, under its names, so that notebooks made for it read the JSON.

    pretrained:       where the model is, as it was named; of one in memory what is known of its weights.
    metrics:          by CLIP_benchmark's names; fractions from 0 to 1, ranks from 1.
    metric:           the one that the data set is known by.
    split:            of the data set; "" where it has none.
    remarks:          what a reader of the numbers must know: ``not the paper's split: ...``.
    intervals:        95 % confidence intervals of metrics, as (low, high).
    chance:           what guessing would give.
    samples:          images that were evaluated; ``skipped`` names the others and damaged files, and why.
    fingerprints:     SHA-256 of weights, tokenizer, preprocessing, templates, data.
    options:          what the task was told beyond its defaults, and which captions and samples were asked for.
    details:          what the metrics came from: strengths tried by a probe, draws of few shots, an ablation.
    class_names:      by number, as predictions have them; several names of a class are divided by ``|``.
    templates:        of the prompts that these were put into.
    cost:             of an image: ``gflops``, ``parameters`` of the image tower; of the model where known.
    features:         of each split the folder, in ``features/`` beside the file, of what it was made from.
    predictions:      columns with one entry an image, ``key`` first; in a Parquet file beside the JSON.
    text_predictions: of retrieval, columns with one entry a text; likewise.
    source_predictions: of data that are shifted from others, columns with one entry an image of these; likewise.
    """

    dataset: str
    model: str
    pretrained: str
    task: str
    metrics: dict[str, float]
    language: str = "en"
    metric: str = ""
    split: str = ""
    remarks: tuple[str, ...] = ()
    intervals: dict[str, Interval] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    samples: int = 0
    skipped: tuple[str, ...] = ()
    precision: str = "fp32"
    backend: str = ""
    fingerprints: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    cost: dict[str, float] = field(default_factory=dict)
    features: dict[str, str] = field(default_factory=dict)
    predictions: Columns = field(default_factory=dict)
    text_predictions: Columns = field(default_factory=dict)
    source_predictions: Columns = field(default_factory=dict)

    def to_json(self) -> str:
        """The result as JSON, without predictions; equal for equal results."""
        return (
            json.dumps({name: to_dict(getattr(self, name)) for name in _IN_JSON}, indent=1, ensure_ascii=False) + "\n"
        )

    def save(self, path: str | Path) -> Path:
        """Write the JSON, and before it the predictions beside it, ``NAME.parquet``, ``NAME.texts.parquet`` and
        ``NAME.source.parquet``, instead of what was there.

        Each file is whole or absent; where the JSON is, all is. Raises ConfigError for a path that does not end in
        .json, by which ``diptych report`` finds results.
        """
        path = Path(path)
        if path.suffix != ".json" and not path.is_dir():
            raise ConfigError(f"a result is kept in a file that ends in .json, not in {path}; give {path}.json")
        if path.is_dir():
            raise IsADirectoryError(21, "Is a directory", str(path))
        path.unlink(missing_ok=True)  # else a disk that is full now would leave it beside other predictions
        for name, suffix in _TABLES.items():
            if columns := getattr(self, name):
                with replacing(path.with_suffix(suffix)) as partial:
                    _write(columns, partial)
            else:
                path.with_suffix(suffix).unlink(missing_ok=True)
        # In file names that are not UTF-8, Python has halves of surrogate pairs; they become JSON's own escapes.
        with replacing(path) as partial:
            partial.write_text(self.to_json(), encoding="utf-8", errors="backslashreplace")
        return path

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read what ``save`` wrote, or a result of CLIP_benchmark. Raises DataError that begins with the path."""
        path = Path(path)
        tables = {name: read_predictions(path.with_suffix(suffix)) for name, suffix in _TABLES.items()}
        return replace(without_predictions(path), **tables)

    def __str__(self) -> str:
        place = f" ({self.pretrained})" if self.pretrained else ""
        split = " ".join(filter(None, [self.split, self.language if self.task == "zeroshot_retrieval" else ""]))
        data = f"{self.dataset} ({split})" if split else self.dataset
        lines = [f"{self.task} of {self.model}{place} on {data}: {self.samples} samples, {self.precision}"]
        if self.options:
            lines.append("  with " + ", ".join(f"{name}={_plain(value)}" for name, value in self.options.items()))
        lines += self.remarks
        if self.skipped:
            lines.append(f"{len(self.skipped)} samples or files could not be used")
        width = max(map(len, self.metrics), default=0)
        for name, value in self.metrics.items():
            line = f"  {name:{width}}  {value:8.4f}"
            if name in self.intervals:
                line += "  [{:.4f}, {:.4f}]".format(*self.intervals[name])
            if name in self.chance:
                line += f"  chance {self.chance[name]:.4f}"
            lines.append(line)
        if shift := self.details.get("shift"):
            lines.append("  shifted from {source}, of {source_classes} classes; among {classes} here".format(**shift))
        for prompt, own in self.details.get("ablation", {}).items():
            line = f"  prompts: {prompt:8}  {own['acc1']:.4f}"
            if "gain_interval" in own:
                gain = "{:+.4f} [{:+.4f}, {:+.4f}]".format(own["gain"], *own["gain_interval"])
                line += f", over the name alone {gain}"
            lines.append(line)
        return "\n".join(lines)


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def without_predictions(path: Path) -> Result:
    """Read the JSON of a result alone. Raises DataError that begins with the path."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise DataError(f"{path}: not the JSON of a result: {problem}") from problem
    if isinstance(data, Mapping) and "samples" not in data and isinstance(data.get("metrics"), Mapping):
        # CLIP_benchmark's metrics hold switches too, and numbers that it does not know.
        numbers = {name: value for name, value in data["metrics"].items() if type(value) in (int, float)}
        data = {**data, "metrics": numbers}
    try:
        return from_dict(Result, data)
    except (ConfigError, OverflowError) as problem:
        raise DataError(f"{path}: not a result of this version: {problem}") from problem


_TABLES = {"predictions": ".parquet", "text_predictions": ".texts.parquet", "source_predictions": ".source.parquet"}
_IN_JSON = [field.name for field in fields(Result) if field.name not in _TABLES]


def _write(columns: Columns, path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({name: pyarrow.array(to_dict(values)) for name, values in columns.items()})
    parquet.write_table(table, path, compression="zstd", write_page_checksum=True)


def read_predictions(path: Path) -> Columns:
    """The columns of a Parquet file, none where there is no file. Raises DataError that begins with the path."""
    from pyarrow import ArrowException, parquet

    if not path.exists():
        return {}
    try:
        table = parquet.read_table(path, page_checksum_verification=True)
    except (OSError, ValueError, ArrowException) as problem:
        raise DataError(f"{path}: no table of predictions: {str(problem).partition(chr(10))[0]}") from problem
    return {name: tuple(map(_frozen, table[name].to_pylist())) for name in table.column_names}


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
