"""Results that are kept: found again by who would make the very same, and made again by who would not."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tiny import SPEC

from diptych.encoder.clip import Clip
from diptych.encoder.loading import create
from diptych.evaluation import kept
from diptych.evaluation.runner import Data, Model, Outcome, data_at, run
from diptych.text.tokenizer import Tokenizer

TEXT = "a photo of a red green blue"


def clip(seed: int) -> Clip:
    return create(SPEC, seed=seed, tokenizer=Tokenizer.train([TEXT], vocabulary_size=530, context_length=60))


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[..., Outcome]:
    """Zero-shot of the model in ``tmp_path/clip`` on the colours in ``tmp_path/colours``."""
    clip(0).save(tmp_path / "clip")
    for name in ("red", "green", "blue"):
        (tmp_path / "colours" / name).mkdir(parents=True)
        Image.new("RGB", (16, 16), name).save(tmp_path / "colours" / name / "0.png")

    def one(model: str = "clip", data: str = "colours", tokenizer: str | None = None, **options: object) -> Outcome:
        models = [Model(str(tmp_path / model), tokenizer and str(tmp_path / tokenizer))]
        (outcome,) = run(models, [Data(str(tmp_path / data))], ["zero-shot"], tmp_path / "out", **options)
        return outcome

    return one


def test_weights_count_by_what_they_are(evaluate: Callable[..., Outcome], tmp_path: Path) -> None:
    before = evaluate()
    (weights,) = (tmp_path / "clip").glob("*.safetensors")
    times = weights.stat()
    clip(1).save(tmp_path / "other")
    shutil.copyfile(tmp_path / "other" / weights.name, weights)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))  # as cp -p and rsync may leave it
    assert weights.stat().st_size == times.st_size
    after = evaluate()
    assert after.made
    assert before.result
    assert after.result
    assert after.result.fingerprints["weights"] != before.result.fingerprints["weights"]


def test_what_a_model_and_data_are_told_counts(evaluate: Callable[..., Outcome], tmp_path: Path) -> None:
    assert evaluate().made
    model, place = str(tmp_path / "clip"), str(tmp_path / "colours")
    for asked, data in (
        (Model(model, precision="fast"), Data(place)),
        (Model(model), Data(place, language="de")),
        (Model(model), Data(place, shifted_from=Data(place))),
    ):
        made = [next(run([asked], [data], ["zero-shot"], tmp_path / "out")) for _ in range(2)]
        assert [outcome.problem for outcome in made] == [None, None]
        assert [outcome.made for outcome in made] == [True, False], (asked, data)


def test_a_model_that_was_moved_is_the_same(
    evaluate: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine" / "run").mkdir(parents=True)
    (tmp_path / "clip").rename(tmp_path / "mine" / "run" / "model")
    first = evaluate("mine/run/model")
    assert first.file
    assert first.file.name.startswith("mine__colours__en__zero-shot__")
    assert first.result
    assert first.result.pretrained == str(tmp_path / "mine" / "run" / "model")
    monkeypatch.chdir(tmp_path / "mine" / "run")
    (outcome,) = run([Model("model")], [Data("../../colours")], ["zero-shot"], tmp_path / "out")
    assert (outcome.made, outcome.file) == (False, first.file)


def test_data_that_were_moved_are_the_same(evaluate: Callable[..., Outcome], tmp_path: Path) -> None:
    """Those that others are shifted from too, and those of a row of one's own, whose file tells where they are."""
    row = '[[dataset]]\nname = "ours"\nlocation = "colours"\n'
    shutil.copytree(tmp_path / "colours", tmp_path / "one" / "colours")
    (tmp_path / "one" / "own.toml").write_text(row)

    def made(folder: str) -> tuple[bool, bool]:
        (ours,) = data_at(str(tmp_path / folder / "own.toml"))
        shifted = Data(str(tmp_path / "colours"), shifted_from=Data(str(tmp_path / folder / "colours")))
        first, second = run([Model(str(tmp_path / "clip"))], [ours, shifted], ["zero-shot"], tmp_path / "out")
        assert first.result is not None
        assert second.result is not None
        return first.made, second.made

    assert made("one") == (True, True)
    (tmp_path / "one").rename(tmp_path / "two")
    assert made("two") == (False, False)
    Image.new("RGB", (16, 16), "white").save(tmp_path / "two" / "colours" / "red" / "1.png")
    assert made("two") == (True, True)
    (tmp_path / "two" / "own.toml").write_text(row + 'metric = "mean_per_class_recall"\n')
    assert made("two") == (True, False)


def test_a_tokenizer_counts_by_what_its_files_hold(evaluate: Callable[..., Outcome], tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "clip", tmp_path / "words", ignore=shutil.ignore_patterns("*.safetensors"))
    assert evaluate(tokenizer="words").made
    assert not evaluate(tokenizer="words").made
    shifted = TEXT.translate(str.maketrans("abdefghlnoprtu", "bcefghimopqsuv"))  # as many tokens, other words
    other = create(SPEC, seed=0, tokenizer=Tokenizer.train([shifted], vocabulary_size=530, context_length=60))
    other.save(tmp_path / "other")
    for file in (tmp_path / "words").iterdir():
        shutil.copyfile(tmp_path / "other" / file.name, file)
    assert evaluate(tokenizer="words").made


@pytest.mark.filterwarnings("ignore:.*texts were cut")
def test_long_options_and_names_are_no_names_of_files(evaluate: Callable[..., Outcome], tmp_path: Path) -> None:
    assert evaluate(templates="a " + "very " * 100 + "red {}").made
    long = "颜" * 64
    (tmp_path / "colours").rename(tmp_path / long)
    (tmp_path / "clip").rename(tmp_path / ("m" * 99))
    outcome = evaluate("m" * 99, data=long)
    assert outcome.problem is None
    assert outcome.file
    assert len(os.fsencode(outcome.file.name)) <= 240
    assert not evaluate("m" * 99, data=long).made


@pytest.mark.filterwarnings("ignore:.* captions of colours are those of")
@pytest.mark.parametrize(("task", "suffix"), [("retrieval", ".texts.parquet"), ("zero-shot", ".source.parquet")])
def test_a_result_that_lost_a_table_of_its_task_is_made_again(
    evaluate: Callable[..., Outcome], tmp_path: Path, task: str, suffix: str
) -> None:
    place = str(tmp_path / "colours")
    data = Data(place, shifted_from=Data(place) if task == "zero-shot" else None)

    def one() -> Outcome:
        (outcome,) = run([Model(str(tmp_path / "clip"))], [data], [task], tmp_path / "out")
        assert outcome.result is not None, outcome.problem
        return outcome

    file = one().file
    assert file
    assert not one().made
    file.with_suffix(suffix).unlink()
    assert one().made


@pytest.mark.filterwarnings("ignore:the best strength", "ignore:.*did not reach the tolerance")
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_what_is_learned_from_counts_too(evaluate: Callable[..., Outcome], tmp_path: Path, split: str) -> None:
    for shade, part in enumerate(("train", "val", "test")):
        for name in ("red", "green"):
            (tmp_path / "own" / part / name).mkdir(parents=True)
            for i in range(2):
                Image.new("RGB", (16, 16), (60 * shade, len(name), 9 * i)).save(
                    tmp_path / "own" / part / name / f"{i}.png"
                )

    def made() -> bool:
        models, data = [Model(str(tmp_path / "clip"))], [Data(str(tmp_path / "own"))]
        (outcome,) = run(models, data, ["nearest-neighbours"], tmp_path / "out")
        assert outcome.result is not None, outcome.problem
        return outcome.made

    assert [made(), made()] == [True, False]
    Image.new("RGB", (16, 16), "white").save(tmp_path / "own" / split / "red" / "2.png")
    assert made()


def test_what_describes_a_model_is_no_part_of_it(evaluate: Callable[..., Outcome], tmp_path: Path) -> None:
    assert evaluate().made
    (tmp_path / "clip" / "README.md").write_text("mine")
    assert not evaluate().made


@pytest.mark.parametrize("harm", ["emptied", "cut", "predictions cut", "predictions gone"])
def test_what_was_damaged_is_made_again(
    evaluate: Callable[..., Outcome], harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = evaluate().file
    assert file
    whole = file.read_bytes()
    hurt = file.with_suffix(".parquet") if harm.startswith("predictions") else file
    if harm.endswith("gone"):
        hurt.unlink()
    else:
        os.truncate(hurt, 0 if harm == "emptied" else hurt.stat().st_size // 2)
    again = evaluate()
    assert again.made
    assert "is made again" in capsys.readouterr().err
    assert file.read_bytes() == whole
    assert not evaluate().made


def test_what_the_system_refuses_of_one_model_leaves_the_others(
    evaluate: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Model) -> Clip:
        if self.location.endswith("shut"):
            raise PermissionError(13, "Permission denied", self.location)
        return clip(0)

    monkeypatch.setattr(Model, "load", refuse)
    models = [Model(str(tmp_path / "shut")), Model(str(tmp_path / "clip"))]
    first, second = run(models, [Data(str(tmp_path / "colours"))], ["zero-shot"], tmp_path / "out")
    assert isinstance(first.problem, PermissionError)
    assert second.made


def test_results_of_versions_that_come_to_other_numbers_are_made_again(
    evaluate: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate().made
    monkeypatch.setattr(kept, "FORM", kept.FORM + 1)
    assert evaluate().made
    assert not evaluate().made
