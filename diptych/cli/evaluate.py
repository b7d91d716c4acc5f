"""``diptych evaluate``."""

from __future__ import annotations

import json as json_format
import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from diptych.cli.messages import refused
from diptych.cli.reading import PLAIN, Reading
from diptych.errors import Caution, ConfigError
from diptych.printable import printable

if TYPE_CHECKING:
    from diptych.evaluation.runner import Data, Outcome

_LISTED = 10  # samples that were skipped


@Parameter(name="*")
@dataclass(frozen=True)
class Opening:
    """How models are opened.

    Parameters
    ----------
    tokenizer
        A file of merges, a tokenizer.json, a vocab.txt or a folder, for a model that brings none.
    activation
        gelu, quick_gelu or gelu_tanh, where the model's file itself cannot say which.
    precision
        fp32 or fast (bfloat16).
    """

    tokenizer: str | None = None
    activation: Literal["gelu", "quick_gelu", "gelu_tanh"] | None = None
    precision: Literal["fp32", "fast"] = "fp32"


@Parameter(name="*")
@dataclass(frozen=True)
class Asked:
    """What tasks are told.

    Parameters
    ----------
    templates
        Of zero-shot: the prompts around a label: a built-in set (name, photo, photo-ensemble ...), or a file with one a
        line.
    class_names
        Of zero-shot: a file with the name of a class a line, instead of the data's own; several are divided by |.
    none_of_these
        Of zero-shot: an answer less probable than this, by the softmax, or SigLIP's own sigmoid, is "none of these".
    ablate_prompts
        Of zero-shot: also with the name only, one template, a hint of the domain, and the ensemble.
    shifted_from
        Of zero-shot and supervised-adaptation: the data set that SOURCES are shifted from, named as they are. Theirs
        are all of its classes, some, or groups.
    mapping
        With SHIFTED-FROM: a file that says of classes by which other names they are there, a line each:
        person = bridegroom | scuba diver.
    distinct_captions
        Of retrieval: equal captions of several images are one text with several right images.
    shots
        Of few-shot and few-shot-cache: how many examples a class; by default 1, 2, 4, 8 and 16. May be repeated.
    draws
        Of few-shot and few-shot-cache: how many draws of each.
    solver
        Of probes: diptych, or scikit-learn for reference.
    start
        Of probes: what the penalty draws their weights to, and where they begin: zeros, or zero-shot weights.
    seed
        Of draws.
    """

    templates: str | None = None
    class_names: str | None = None
    none_of_these: float | None = None
    ablate_prompts: bool = False
    shifted_from: str | None = None
    mapping: str | None = None
    distinct_captions: bool = False
    shots: tuple[int, ...] | None = None
    draws: int = 5
    solver: Literal["diptych", "scikit-learn"] = "diptych"
    start: Literal["zeros", "zero-shot"] = "zeros"
    seed: int = 0


BY_DEFAULT, NOTHING = Opening(), Asked()


def evaluate(
    model: str,
    /,
    *sources: Annotated[str, Parameter(required=True)],
    also: tuple[str, ...] | None = None,
    task: tuple[str, ...] | None = None,
    reading: Reading = PLAIN,
    language: tuple[str, ...] | None = None,
    opening: Opening = BY_DEFAULT,
    asked: Asked = NOTHING,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Evaluate a model, or several, on data sets, with 95 % intervals and chance beside each number.

    With --out it goes on where it was cut off and makes nothing twice; processes started by torchrun share the images.
    diptych report shows the results in OUT.

    Example:
        diptych evaluate my-clip caltech101 --split test
        diptych evaluate my-clip "flickr8k/val-*.tar" --captions json.captions.en
        diptych evaluate my-clip caltech101 pets --also other-clip --task zero-shot --task linear-probe --out results
        diptych evaluate my-clip sketches --shifted-from photos --task zero-shot --task supervised-adaptation

    Parameters
    ----------
    model
        A folder, a .pt or .safetensors file, or hf:org/name[@revision]; for probes also an encoder of timm or
        Transformers.
    sources
        Class folders, CLIP_benchmark folders, webdataset tars, or CSV, TSV, JSONL or Parquet files; cifar10=FOLDER for
        a data set of the paper, by its metric and prompts; or a TOML file with data sets of one's own.
    also
        Another model to measure on the same data. May be repeated.
    task
        zero-shot, retrieval, linear-probe, supervised-adaptation, few-shot, few-shot-cache, nearest-neighbours; by
        default what the data are made for. May be repeated.
    language
        Of the texts, noted in the results; "{language}" in CAPTIONS stands for it. May be repeated.
    out
        Folder for all results, predictions and embeddings.
    json
        Print one JSON object a result instead of tables.
    """
    from diptych import distributed
    from diptych.evaluation.runner import Model, run
    from diptych.evaluation.tasks import check_task

    if out is not None:
        _check(out)
    for name in task or ():
        check_task(name)
    places = (model, *(also or ()))
    models = [Model(place, opening.tokenizer, opening.activation, opening.precision) for place in places]
    data = _data(sources, language or ("en",), reading, asked.shifted_from)
    with distributed.started(distributed.LONG_PATIENCE), warnings.catch_warnings():
        warnings.simplefilter("ignore", Caution)  # the results say it, too
        return _status(_all_told(run(models, data, task or (None,), out, **_told(asked)), out, json=json))


def _check(out: Path) -> None:
    from diptych.cli.output import check_folder

    if out.suffix == ".json":
        raise ConfigError(f"--out {out}: results go into a folder, several files each; give its name")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file, and results go into a folder; give another name")
    check_folder(out)


def _data(sources: Sequence[str], languages: Sequence[str], reading: Reading, shifted_from: str | None) -> list[Data]:
    from diptych.evaluation.runner import data_at, the_one_at

    taken: dict[str, Any] = {"split": reading.split, "captions": reading.captions or None, "where": reading.where}
    if shifted_from == "":
        raise ConfigError("--shifted-from is empty; give the place of a data set, or leave it out")
    if shifted_from:
        taken["shifted_from"] = the_one_at(shifted_from)
    return [at for source in sources for spoken in languages for at in data_at(source, language=spoken, **taken)]


def _all_told(run: Iterable[Outcome], out: Path | None, *, json: bool) -> list[Outcome]:
    """All outcomes, each told by the main process as it comes."""
    from diptych import distributed

    outcomes: list[Outcome] = []
    told: set[tuple[str, str]] = set()
    try:
        for outcome in run:
            outcomes.append(outcome)
            if distributed.is_main():
                _tell(outcome, json=json)
                _tell_problem(outcome, out, told)
    except KeyboardInterrupt:
        if out and out.exists() and distributed.is_main():
            print(f"what is done is in {out}, from which the same command goes on", file=sys.stderr)
        raise
    return outcomes


def _told(asked: Asked) -> dict[str, Any]:
    given = {name: value for name, value in vars(asked).items() if value != getattr(NOTHING, name)}
    given.pop("shifted_from", None)  # is opened as SOURCES are
    return given


def _tell(outcome: Outcome, *, json: bool) -> None:
    if result := outcome.result:
        print(json_format.dumps(json_format.loads(result.to_json()), ensure_ascii=False) if json else result)
        for skipped in result.skipped[:_LISTED] if outcome.made else ():
            print(f"skipped: {skipped}", file=sys.stderr)
        if outcome.made and len(result.skipped) > _LISTED:
            print(f"and {len(result.skipped) - _LISTED:,} more, which the result has", file=sys.stderr)
    if outcome.file:  # stdout may be read as JSON
        print(f"the result {'is' if outcome.made else 'was already'} in {outcome.file}", file=sys.stderr)


def _tell_problem(outcome: Outcome, out: Path | None, told: set[tuple[str, str]]) -> None:
    """Once for all tasks on the same data that it is of; ``told``: the data and what was said of them before."""
    problem = outcome.problem
    if not problem:
        return
    said = refused(problem) if isinstance(problem, OSError) else str(problem)
    if isinstance(problem, OSError) and problem.filename is None and out and outcome.result:
        said = f"{said} (in {out})"  # such as a full disk, which names no file
    if (outcome.data, said) not in told:
        print(f"error: {printable(said)}", file=sys.stderr)
    told.add((outcome.data, said))


def _status(outcomes: Sequence[Outcome]) -> int:
    problems = [outcome.problem for outcome in outcomes if outcome.problem]
    if problems and all(isinstance(problem, ConfigError) for problem in problems) and len(problems) == len(outcomes):
        return 2
    return 1 if problems else 0
