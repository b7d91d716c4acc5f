import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.data.sources import Sample
from diptych.encoder.clip import Clip
from diptych.encoder.loading import create
from diptych.errors import Caution, ConfigError, DataError, TokenizerError, TooManyFailures
from diptych.evaluation import multilabel
from diptych.evaluation.datasets import Row
from diptych.evaluation.features import embed
from diptych.evaluation.plan import Splits
from diptych.evaluation.result import Result
from diptych.evaluation.runner import Data, Model, run
from diptych.evaluation.tasks import evaluate
from diptych.specs import ModelSpec, PreprocessSpec, TextTransformerSpec, VisionTransformerSpec
from diptych.text.tokenizer import Tokenizer

COLOURS = ("red", "green", "blue", "white", "black", "grey")


class Colours:
    """A source of 80 plain images, two of them broken, in six classes with two captions each."""

    name = "colours"
    class_names: tuple[str, ...] | None = COLOURS
    templates: tuple[str, ...] | None = ("a {c} square",)

    def __init__(self, broken: int = 2) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return 80

    def read(self, i: int) -> Sample:
        if i == 79 and self.broken:
            raise DataError("sample-79 is not in the archive")
        buffer = io.BytesIO()
        Image.new("RGB", (20, 16), (i * 3, 255 - i * 3, i % 7 * 30)).save(buffer, "PNG")
        image = b"nothing" if i < self.broken - 1 else buffer.getvalue()
        return Sample(image, (f"a {COLOURS[i % 6]} square", f"picture {i}"), i % 6, f"sample-{i}")


class Captioned(Colours):
    class_names = templates = None


@pytest.fixture(scope="module")
def clip() -> Clip:
    spec = ModelSpec(
        name="tiny",
        embedding=16,
        image=VisionTransformerSpec(image_size=16, patch_size=8, width=16, layers=1, heads=2),
        text=TextTransformerSpec(width=16, layers=1, heads=2),
        preprocess=PreprocessSpec(size=16),
    )
    tokenizer = Tokenizer.train([f"a {colour} square" for colour in COLOURS], vocabulary_size=530, context_length=200)
    return create(spec, seed=0, tokenizer=tokenizer)


def test_zero_shot_end_to_end(clip: Clip, tmp_path: Path) -> None:
    result = evaluate(clip, Colours())
    assert (result.dataset, result.model, result.task) == ("colours", "tiny", "zeroshot_classification")
    assert (result.samples, len(result.skipped), result.precision) == (78, 2, "fp32")
    assert any("sample-0" in reason for reason in result.skipped)
    assert any("sample-79 is not in the archive" in reason for reason in result.skipped)
    classifier = clip.classifier(COLOURS, "a {} square")
    images = [Colours(0).read(i).image for i in range(1, 79)]
    predicted = classifier.predict(images)
    right = [COLOURS[i % 6] == label for i, label in zip(range(1, 79), predicted, strict=True)]
    assert result.metrics["acc1"] == pytest.approx(np.mean(right))
    assert result.predictions["key"] == tuple(f"sample-{i}" for i in range(1, 79))
    assert [COLOURS[i] for i in result.predictions["predicted"]] == predicted
    path = result.save(tmp_path / "deep" / "result.json")
    assert Result.load(path) == result
    data = json.loads(path.read_text())
    assert {"dataset", "model", "pretrained", "task", "metrics", "language"} <= data.keys()
    assert sorted(file.name for file in path.parent.iterdir()) == ["result.json", "result.parquet"]
    assert "predictions" not in data
    assert "acc1" in str(result)
    assert "2 samples or files could not be used" in str(result)


class Several(Colours):
    """Images that show one to three classes, and some by which they are not judged."""

    def read(self, i: int) -> Sample:
        shown = tuple(c for c in range(6) if (i * (c + 3)) % 7 < 2)
        return super().read(i)._replace(label=None, labels=shown, unjudged=(5,) if i % 9 == 0 else ())


def test_a_result_can_be_read_alone_and_analysed_without_the_model(clip: Clip, tmp_path: Path) -> None:
    path = evaluate(clip, Several(0), class_names=["red", ("green", "lime"), *COLOURS[2:]]).save(tmp_path / "m.json")
    result = Result.load(path)
    assert result.class_names == ("red", "green|lime", *COLOURS[2:])
    assert result.templates == Colours.templates
    scores_NC, labels_NC = np.array(result.predictions["scores"]), np.zeros((80, 6), bool)
    judged_NC = np.ones((80, 6), bool)
    for i in range(80):
        labels_NC[i, list(result.predictions["labels"][i])] = True
        judged_NC[i, list(result.predictions["unjudged"][i])] = False
    again = multilabel.score(scores_NC, labels_NC, judged_NC=judged_NC)
    assert again.metrics == pytest.approx(result.metrics)
    assert again.intervals == {name: pytest.approx(limits) for name, limits in result.intervals.items()}
    assert set(result.intervals) == set(result.metrics) == {"map11", "mean_average_precision"}
    single = Result.load(evaluate(clip, Colours(0)).save(tmp_path / "s.json"))
    assert [single.class_names[label] for label in single.predictions["label"]] == [COLOURS[i % 6] for i in range(80)]
    found = evaluate(clip, Captioned(0), distinct_captions=True)
    for i, own in enumerate(found.predictions["texts"]):
        assert {found.text_predictions["text"][text] for text in own} == {f"a {COLOURS[i % 6]} square", f"picture {i}"}
        assert all(i in found.text_predictions["images"][text] for text in own)


def test_retrieval_end_to_end(clip: Clip) -> None:
    with pytest.warns(UserWarning, match="72 of the 156 captions .*--distinct-captions"):
        result = evaluate(clip, Captioned(), language="de")
    assert (result.task, result.language, result.samples) == ("zeroshot_retrieval", "de", 78)
    measured = {f"recall@{k}" for k in (1, 5, 10)} | {"median_rank"}
    assert set(result.intervals) == {f"{side}_retrieval_{name}" for side in ("text", "image") for name in measured}
    assert len(result.text_predictions["rank"]) == 2 * 78
    merged = evaluate(clip, Captioned(), distinct_captions=True)
    assert len(merged.text_predictions["rank"]) == 78 + 6
    with pytest.warns(UserWarning, match="captions"):
        assert evaluate(clip, Colours(), "retrieval").metrics == result.metrics


def test_what_is_warned_of_is_a_remark_of_each_result(clip: Clip) -> None:
    for _ in range(2):  # Python shows an equal warning once
        with pytest.warns(Caution, match="captions of colours are those"):
            result = evaluate(clip, Captioned())
        assert [remark for remark in result.remarks if remark.startswith("72 of the 156 captions of colours")]
    with pytest.warns(Caution, match="1 of 6 texts were cut"):
        named = evaluate(clip, Colours(), class_names=["very " * 90, *COLOURS[1:]])
    assert named.remarks == ("1 of 6 texts were cut to 200 tokens",)
    assert not evaluate(clip, Colours()).remarks


def test_a_result_tells_what_was_read_and_where_the_model_is(clip: Clip, tmp_path: Path) -> None:
    rows = ["image\tname\tkept", *(f"{i}.png\ta {colour} square\t{i}" for i, colour in enumerate(COLOURS))]
    for i in range(len(COLOURS)):
        Image.new("RGB", (20, 16), (i * 30, 0, 0)).save(tmp_path / f"{i}.png")
    table = tmp_path / "rows.tsv"
    table.write_text("\n".join(rows))
    clip.save(tmp_path / "clip")
    data = Data(str(table), captions=("name",), where="kept=1", language="de")
    (outcome,) = run([Model(str(tmp_path / "clip"))], [data], [None], None)
    assert outcome.result
    assert outcome.result.options == {"captions": ["name"], "where": "kept=1"}
    heading = f"zeroshot_retrieval of tiny ({tmp_path / 'clip'}) on rows (de): 1 samples, fp32"
    assert str(outcome.result).splitlines()[:2] == [heading, "  with captions=name, where=kept=1"]


def test_a_result_that_cannot_be_written_whole_is_not_there(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = evaluate(clip, Colours()).save(tmp_path / "a.json")
    monkeypatch.setattr(Result, "to_json", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate(clip, Colours(0)).save(file)
    assert not file.exists()


def test_a_bit_that_turned_gives_no_other_predictions(clip: Clip, tmp_path: Path) -> None:
    result = evaluate(clip, Colours())
    file = result.save(tmp_path / "a.json").with_suffix(".parquet")
    whole, noticed = file.read_bytes(), 0
    for place in range(4, len(whole) // 2, 61):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            assert Result.load(tmp_path / "a.json").predictions == result.predictions
        except DataError:
            noticed += 1
    assert noticed


def test_fingerprints_tell_what_differs(clip: Clip) -> None:
    first = evaluate(clip, Colours()).fingerprints
    assert first == evaluate(clip, Colours()).fingerprints
    assert set(first) == {"weights", "tokenizer", "preprocessing", "data", "templates"}

    def changed(other: dict[str, str]) -> set[str]:
        return {name for name in first if first[name] != other[name]}

    assert changed(evaluate(clip, Colours(), templates="photo").fingerprints) == {"templates"}
    assert changed(evaluate(clip, Colours(0)).fingerprints) == {"data"}
    other = Clip(create(clip.spec, seed=1).model, clip.tokenizer)
    assert changed(evaluate(other, Colours()).fingerprints) == {"weights"}


def test_what_cannot_be_evaluated(clip: Clip) -> None:
    with pytest.raises(ConfigError, match="did you mean 'zero-shot'"):
        evaluate(clip, Colours(), "zeroshot")
    with pytest.raises(DataError, match="no class names"):
        evaluate(clip, Captioned(), "zero-shot")
    with pytest.raises(TooManyFailures, match=r"21 samples of colours .* 10% of its 80; the first: sample-0"):
        evaluate(clip, Colours(21))
    with pytest.raises(DataError, match="no image that can be read"):
        embed(clip, Colours(200), allowed_failures=1)


class Mute(Captioned):
    """Some samples have neither caption nor label."""

    def __init__(self, mute: int) -> None:
        super().__init__(broken=0)
        self.mute = mute

    def read(self, i: int) -> Sample:
        sample = super().read(i)
        return sample._replace(captions=("  ",), label=None) if i < self.mute else sample


class Unlabelled(Mute):
    class_names = COLOURS


def test_samples_without_what_the_task_needs(clip: Clip) -> None:
    with pytest.raises(TooManyFailures, match=r"10% .*sample-0 has no caption"):
        evaluate(clip, Mute(80))
    with pytest.raises(TooManyFailures, match=r"10% .*sample-0 has no label"):
        evaluate(clip, Unlabelled(80))


def test_a_few_samples_without_what_the_task_needs_are_listed_and_left_out(clip: Clip) -> None:
    for source, lack in ((Mute(2), "caption"), (Unlabelled(2), "label")):
        result = evaluate(clip, source, distinct_captions=lack == "caption")
        assert result.samples == 78
        assert [reason.partition(",")[0] for reason in result.skipped] == [f"sample-{i} has no {lack}" for i in (0, 1)]
        assert result.predictions["key"][0] == "sample-2"


def test_what_cannot_be_used_is_listed_in_the_order_of_the_samples(clip: Clip) -> None:
    source = Unlabelled(2)
    source.broken = 1  # the last
    skipped = evaluate(clip, source).skipped
    assert [reason.partition(" ")[0] for reason in skipped] == ["sample-0", "sample-1", "sample-79"]


class Changed(Colours):
    """The same images in another order, or with something else than their bytes changed."""

    def __init__(self, change: str) -> None:
        super().__init__(0)
        self.change = change

    def read(self, i: int) -> Sample:
        sample = super().read(79 - i if self.change == "order" else i)
        if self.change == "label" and i == 7:
            return sample._replace(label=2)
        return sample._replace(captions=("another",)) if self.change == "caption" and i == 7 else sample


def test_data_count_by_order_labels_and_captions_too(clip: Clip) -> None:
    changes = ("nothing", "order", "label", "caption")
    assert embed(clip, Changed("nothing")).fingerprint == embed(clip, Colours(0)).fingerprint
    assert len({embed(clip, Changed(change)).fingerprint for change in changes}) == 4


def test_no_more_is_read_once_too_much_has_failed(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diptych.evaluation.embedding.BATCH", 2)
    monkeypatch.setattr("diptych.evaluation.embedding.BATCHES", 2)
    read: list[int] = []

    class Counted(Colours):
        def read(self, i: int) -> Sample:
            read.append(i)
            return super().read(i)

    with pytest.raises(TooManyFailures):
        embed(clip, Counted(200))
    assert len(read) <= 12 + 2 * 2  # nine are more than a tenth, in the third part; a batch or two are read ahead


class Alike(Colours):
    """Classes 1 and 4 are both called green, though not written alike."""

    class_names = ("red", "green", "blue", "white", "Green ", "grey")


def test_classes_of_one_name_share_their_hits(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    def perfect(_: Clip, pixels_BCHW: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        nonlocal seen
        seen, numbers = seen + len(pixels_BCHW), range(seen, seen + len(pixels_BCHW))
        embeddings_BE = weights_CE[[i % 6 for i in numbers]]
        return embeddings_BE, embeddings_BE

    seen, weights_CE = 0, clip.classifier([name.strip().lower() for name in Alike.class_names], "{}").weights_CE
    monkeypatch.setattr(Clip, "image_outputs", perfect)
    with pytest.warns(UserWarning, match=r"'green' \(1\), 'Green ' \(4\)"):
        result = evaluate(clip, Alike(0), templates="{}")
    right = [i for i in range(80) if i % 6 != 4]
    assert [i for i in range(80) if result.predictions["rank"][i] == 1] == right
    assert {result.predictions["rank"][i] for i in range(80) if i % 6 == 4} == {2}
    assert result.predictions["predicted"] == tuple(i % 6 if i % 6 != 4 else 1 for i in range(80))
    assert result.metrics["acc1"] == len(right) / 80
    assert result.metrics["acc5"] == 1
    assert result.chance["acc1"] == 1 / 6


def test_keys_that_are_not_utf8_are_saved(clip: Clip, tmp_path: Path) -> None:
    class Odd(Captioned):
        def read(self, i: int) -> Sample:
            return super().read(i)._replace(key=f"caf\udce9-图-{i}")

    result = evaluate(clip, Odd(), distinct_captions=True)
    assert result.predictions["key"][0] == "caf\\udce9-图-1"
    path = result.save(tmp_path / "result.json")
    assert Result.load(path) == result
    assert "图" in path.read_text(encoding="utf-8")


def test_a_result_that_cannot_be_saved_leaves_nothing(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "result.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        evaluate(clip, Colours()).save(tmp_path / "result.json")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_result_is_kept_where_it_will_be_found(clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.json, not in .*mine; give .*mine\.json"):
        evaluate(clip, Colours()).save(tmp_path / "mine")
    assert not list(tmp_path.iterdir())


def test_features_do_not_depend_on_batches(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = embed(clip, Colours())
    monkeypatch.setattr("diptych.evaluation.embedding.BATCH", 7)
    again = embed(clip, Colours())
    assert np.abs(whole.embeddings_NE - again.embeddings_NE).max() < 2e-6
    assert (whole.keys, whole.fingerprint, whole.failures) == (again.keys, again.fingerprint, again.failures)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"dataset": 3}'])
def test_what_is_no_result(tmp_path: Path, content: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises((DataError, ConfigError), match=r"result\.json"):
        Result.load(path)


def test_a_result_of_clip_benchmark_loads(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    published = {
        **{"dataset": "wds/cars", "model": "ViT-B-32", "pretrained": "openai", "task": "zeroshot_classification"},
        **{"metrics": {"acc1": 0.5, "acc5": 0.9}, "language": "en"},
    }
    path.write_text(json.dumps(published))
    assert Result.load(path).metrics["acc5"] == 0.9


def test_names_of_classes_count_and_are_those_of_the_row(clip: Clip) -> None:
    plain, other = (evaluate(clip, Colours(0), class_names=names) for names in (None, [*COLOURS[:5], "silver"]))
    assert plain.fingerprints["templates"] != other.fingerprints["templates"]
    names = (("crimson", "red"), *((colour,) for colour in COLOURS[1:]))
    row = Row(name="own", title="Own", class_names=names, templates=("one {}", "two {}"))
    by_row = evaluate(clip, Splits(Colours(0), row=row))
    assert by_row.class_names == ("crimson|red", *COLOURS[1:])
    assert by_row.templates == ("one {}", "two {}")
    for given in (COLOURS[:5], (*COLOURS, "silver")):
        with pytest.raises(ConfigError, match=f"{len(given)} class names are given, and colours has 6 classes"):
            evaluate(clip, Colours(0), class_names=given)


def test_prompts_are_ablated_with_the_hint_of_the_row(clip: Clip) -> None:
    pets = Row(name="own", title="Own", prompts="pets")
    study = evaluate(clip, Splits(Colours(0), row=pets), ablate_prompts=True).details["ablation"]
    assert study["hint"]["templates"] == ["a photo of a {}, a breed of pet."]
    assert "pet" not in str(evaluate(clip, Colours(0), ablate_prompts=True).details["ablation"]["hint"]["templates"])


def test_none_of_these_is_a_probability_of_one_class_among_others(clip: Clip) -> None:
    for value in (0.0, 1.0):
        with pytest.raises(ConfigError, match="a probability between 0 and 1, not"):
            evaluate(clip, Colours(0), none_of_these=value)
    for asked in ({"none_of_these": 0.5}, {"ablate_prompts": True}):
        with pytest.raises(
            ConfigError, match=f"{next(iter(asked))} is of accuracy .* these data are measured by map11"
        ):
            evaluate(clip, Several(0), **asked)


class Unread(Colours):
    def read(self, i: int) -> Sample:
        raise AssertionError("read before the rest was known to be right")


def test_mistakes_are_found_before_the_images_are_read(clip: Clip) -> None:
    with pytest.raises(ConfigError, match="did you mean 'photo'"):
        evaluate(clip, Unread(), templates="phtoo")
    for task in ("zero-shot", "retrieval"):
        with pytest.raises(TokenizerError, match="came without a tokenizer"):
            evaluate(Clip(clip.model), Unread(), task)


@pytest.mark.parametrize(
    ("where", "options", "task"),
    [
        ("caltech101", {"split": "test"}, "zeroshot_classification"),
        ("emoji/val-0000.tar", {"where": "json.base"}, "zeroshot_retrieval"),
    ],
)
def test_real_data(clip: Clip, shared_data: Path, where: str, options: dict[str, str], task: str) -> None:
    from diptych.data.sources import open_source

    result = evaluate(clip, open_source(shared_data / where, **options), distinct_captions=task.endswith("retrieval"))
    assert result.task == task
    assert result.skipped == ()
    assert result.samples == {"zeroshot_classification": 2804, "zeroshot_retrieval": 278}[task]
    first = next(iter(result.metrics))
    assert result.intervals[first][0] < 4 * result.chance[first]  # random weights know nothing


def test_options_of_the_other_task_are_refused(clip: Clip) -> None:
    with pytest.raises(ConfigError, match="zero-shot"):
        evaluate(clip, Captioned(), templates="photo")
    with pytest.raises(ConfigError, match="retrieval"):
        evaluate(clip, Colours(), distinct_captions=True)


def test_an_evaluation_shows_a_bar_on_a_terminal_only(
    clip: Clip, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(clip, Colours())
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    evaluate(clip, Colours())
    assert "embedding colours" in capsys.readouterr().err


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_of_which_a_model_says_nothing_are_skipped_and_counted(
    clip: Clip, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    outputs, bad = Clip.image_outputs, {3, 70}

    def damaged(self: Clip, pixels_BCHW: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        nonlocal seen
        arrays = [array.copy() for array in outputs(self, pixels_BCHW)]
        for array in arrays:
            array[[i for i in range(len(array)) if seen + i in bad], 5] = value
        seen += len(pixels_BCHW)
        return arrays[0], arrays[1]

    whole, seen = evaluate(clip, Colours(0), none_of_these=0.2), 0
    monkeypatch.setattr(Clip, "image_outputs", damaged)
    result = evaluate(clip, Colours(0), none_of_these=0.2)
    assert result.samples == 78
    assert result.skipped == tuple(f"sample-{i} is embedded as what is no finite number" for i in sorted(bad))
    kept = [i for i in range(80) if i not in bad]
    assert result.predictions["rank"] == tuple(whole.predictions["rank"][i] for i in kept)
    seen = 0
    assert evaluate(clip, Colours(0), "retrieval", distinct_captions=True).samples == 78
    seen, bad = 0, set(range(9))
    with pytest.raises(TooManyFailures, match=r"9 samples of colours .*: sample-0 is embedded as"):
        evaluate(clip, Colours(0))


def test_texts_of_which_a_model_says_nothing_are_told(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = Clip.encode_texts

    def damaged(self: Clip, texts: list[str], *rest: object, **more: object) -> np.ndarray:
        embeddings_ME = encode(self, texts, *rest, **more).copy()
        embeddings_ME[["blue" in text for text in texts]] = np.nan
        return embeddings_ME

    monkeypatch.setattr(Clip, "encode_texts", damaged)
    with pytest.raises(DataError, match="no finite embedding for 1 of the 6 classes; the first is 'blue'"):
        evaluate(clip, Colours(0))
    with pytest.warns(UserWarning, match="no finite embedding for 1 of the 86 captions, .* 'a blue square'"):
        result = evaluate(clip, Colours(0), "retrieval", distinct_captions=True)
    place = result.text_predictions["text"].index("a blue square")
    assert result.text_predictions["rank"][place] == 80 - 13 + 1  # behind all that are wrong
    assert all(np.isfinite(value) for value in result.metrics.values())
