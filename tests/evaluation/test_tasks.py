"""The tasks that learn, and data sets of the table, end to end on small folders."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import SPEC

from diptych.data.sources import Sample
from diptych.encoder.clip import Clip
from diptych.encoder.loading import create
from diptych.encoder.subject import ImageSubject
from diptych.errors import ConfigError, DataError
from diptych.evaluation import few_shot
from diptych.evaluation.datasets import DATASETS, Row
from diptych.evaluation.few_shot import draw
from diptych.evaluation.neighbours import SHARPNESSES, WEIGHTS
from diptych.evaluation.own_datasets import read_rows
from diptych.evaluation.plan import Splits
from diptych.evaluation.runner import Data, Model, data_at, run
from diptych.evaluation.splits import named, open_splits
from diptych.evaluation.tasks import evaluate
from diptych.text.prompts import templates
from diptych.text.tokenizer import Tokenizer

# Of a handful of images any strength of the penalty may be the best, and the weakest does not converge.
pytestmark = pytest.mark.filterwarnings(
    "ignore:the best strength",
    "ignore:.*did not reach the tolerance",
    "ignore:.*fewer than",
    "ignore:.*none to learn from",
    "ignore:zero-shot is not surely better",
)

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 40, 220), "grey": (128, 128, 128)}


@pytest.fixture(scope="module")
def clip() -> Clip:
    tokenizer = Tokenizer.train(["a photo of a red green blue grey"], vocabulary_size=530, context_length=60)
    return create(SPEC, seed=0, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four colours with some noise: a linear probe of any features tells them apart."""
    folder = tmp_path_factory.mktemp("data") / "colours"
    generator = np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 5), ("test", 6)):
        for name, colour in COLOURS.items():
            for i in range(count):
                pixels = np.clip(np.array(colour) + generator.normal(0, 25, (16, 16, 3)), 0, 255).astype(np.uint8)
                file = folder / split / name / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
    return folder


def test_copies_of_measured_images_in_train_are_counted(clip: Clip, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "colours")
    for number in range(2):
        shutil.copyfile(
            tmp_path / "colours" / "test" / "red" / f"{number}.png",
            tmp_path / "colours" / "train" / "red" / f"x{number}.png",
        )
    result = evaluate(clip, tmp_path / "colours", "nearest-neighbours")
    assert result.remarks == ("2 of the 24 images that are measured are in the split 'train' too",)
    assert evaluate(clip, data, "nearest-neighbours").remarks == ()


def test_a_probe_learns_from_train_is_chosen_on_val_and_measured_on_test(clip: Clip, data: Path) -> None:
    result = evaluate(clip, data, "linear-probe")
    assert (result.task, result.split, result.metric, result.samples) == ("linear_probe", "test", "lp_acc1", 24)
    assert result.metrics["lp_acc1"] > 0.9
    assert result.chance["lp_acc1"] == 0.25
    assert result.details["probe"]["chosen_on"] == "20 samples given"
    assert len(result.details["probe"]["tried"]) in range(11, 16)
    assert set(result.fingerprints) == {
        "weights",
        "tokenizer",
        "preprocessing",
        "data",
        "data of train",
        "data of validation",
    }
    assert (result.class_names, result.templates) == (tuple(sorted(COLOURS)), ())
    alone = evaluate(ImageSubject.of(clip), data, "linear-probe")
    assert alone.metrics == result.metrics
    assert alone.predictions["predicted"] == result.predictions["predicted"]


def test_few_shots_are_set_against_zero_shot(clip: Clip, data: Path) -> None:
    result = evaluate(clip, data, "few-shot", shots=(1, 4), draws=2)
    assert result.metric == "fs4_acc1"
    assert result.chance == dict.fromkeys(("fs1_acc1", "fs4_acc1", "lp_acc1", "acc1"), 0.25)
    assert set(result.intervals) == {"lp_acc1", "acc1"}  # two draws tell nothing of their mean
    for place, shots in enumerate((1, 4)):
        ranks_ND = np.array(result.predictions[f"fs{shots}_rank"])
        assert (ranks_ND == 1).mean(axis=0).tolist() == pytest.approx(result.details["accuracies"][place])
        answered_ND = np.array(result.predictions[f"fs{shots}_predicted"])
        right_ND = answered_ND == np.array(result.predictions["label"])[:, None]
        np.testing.assert_array_equal(right_ND, ranks_ND == 1)
    for metric, column in (("lp_acc1", "lp_rank"), ("acc1", "zero_shot_rank")):
        assert (np.array(result.predictions[column]) == 1).mean() == result.metrics[metric]
    assert result.class_names == tuple(sorted(COLOURS))
    assert result.templates == templates("photo")
    assert result.details["shots"] == [1, 4]
    assert np.shape(result.details["accuracies"]) == (2, 2)
    assert result.metrics["fs4_acc1"] == pytest.approx(np.mean(result.details["accuracies"][1]))
    assert result.details["zero_shot"] == evaluate(clip, data, "zero-shot").metrics["acc1"]
    assert result.details["full"] == {"examples": 15, "accuracy": result.metrics["lp_acc1"]}
    assert result.details["shots_to_match"] == {"shots": 0.01, "kind": "fewer"}
    bare = evaluate(ImageSubject.of(clip), data, "few-shot", shots=(1,), draws=1)
    assert "shots_to_match" not in bare.details
    three = evaluate(clip, data, "few-shot-cache", shots=(1,), draws=3)
    assert np.std(three.details["accuracies"][0]) > 0
    low, high = three.intervals["cache1_acc1"]
    assert low < three.metrics["cache1_acc1"] < high


def test_more_shots_than_there_are_examples_are_one_point(
    clip: Clip, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits, learn = [], few_shot.select
    monkeypatch.setattr(
        few_shot, "select", lambda drawn, *rest, **more: fits.append(drawn) or learn(drawn, *rest, **more)
    )
    result = evaluate(clip, data, "few-shot", shots=(16, 10, 64, 4, 4), draws=3)  # there are ten a class
    assert [len(drawn.truth) for drawn in fits] == [16, 16, 16, 40]
    assert result.details["shots"] == [4, 10, 16, 64]
    assert result.details["classes_short_of_examples"] == [0, 0, 4, 4]
    assert not {"fs10_acc1", "fs16_acc1", "fs64_acc1"} & set(result.intervals)  # every draw is the same
    assert result.metrics["fs10_acc1"] == result.metrics["fs64_acc1"]
    assert [remark for remark in result.remarks if "fewer than" in remark] == [
        f"fs{shots} is of 10 examples a class on average: of 4 of the 4 classes there are fewer than {shots}, and all "
        "were taken"
        for shots in (16, 64)
    ]


def test_what_few_shots_cannot_be_had_of_is_said_before_images_are_read(
    clip: Clip, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def embedded(*_: object) -> None:
        raise AssertionError("images were read")

    class Several:
        name, class_names, templates = "several", ("a", "b"), ()

        def __len__(self) -> int:
            return 2

        def read(self, i: int) -> Sample:
            return Sample(b"", captions=(), label=None, key="one", labels=(0, 1))

    monkeypatch.setattr("diptych.evaluation.features.made", embedded)
    for task in ("few-shot", "few-shot-cache"):
        with pytest.raises(DataError, match="those of several have several"):
            evaluate(clip, Splits(Several(), train=Several()), task)
        with pytest.raises(ConfigError, match="a seed is 0 or more, not -1"):
            evaluate(clip, data, task, seed=-1)
        with pytest.raises(ConfigError, match="draws is a whole number of 1 or more, not 0"):
            evaluate(clip, data, task, draws=0)
    row = dataclasses.replace(DATASETS["kinetics700"], name="own", title="Own", classes=None)
    with pytest.raises(DataError, match="own has 4 classes"):
        evaluate(clip, dataclasses.replace(open_splits(str(data)), row=row), "zero-shot", templates="{}")


def test_a_cache_of_few_examples_stands_beside_zero_shot(clip: Clip, data: Path) -> None:
    result = evaluate(clip, data, "few-shot-cache", shots=(2,), draws=1, seed=3)
    assert (result.task, result.metric) == ("few_shot_cache", "cache2_acc1")
    known = {}
    for split in ("train", "val", "test"):
        files = sorted((data / split).glob("*/*.png"))
        known[split] = clip.encode_images(files), np.array([sorted(COLOURS).index(file.parent.name) for file in files])
    weights_CE = clip.classifier(sorted(COLOURS)).weights_CE
    train_NE, labels_N = known["train"]
    rows = draw(labels_N, 2, 3)
    examples_NE, shown_NC = train_NE[rows], np.eye(4)[labels_N[rows]]

    def right(split: str, weight: float, sharpness: float) -> float:
        images_NE, truth_N = known[split]
        near_NC = np.exp(sharpness * (images_NE @ examples_NE.T - 1)) @ shown_NC
        both_NC = near_NC if weight == np.inf else 100 * images_NE @ weights_CE.T + weight * near_NC
        return float((both_NC.argmax(axis=1) == truth_N).mean())

    chosen = max(
        ((weight, sharpness) for weight in WEIGHTS for sharpness in SHARPNESSES),
        key=lambda pair: (right("val", *pair), -pair[0], -pair[1]),
    )
    weight = None if chosen[0] == np.inf else chosen[0]
    assert (result.details["weights"], result.details["sharpnesses"]) == ([[weight]], [[chosen[1]]])
    assert result.metrics["cache2_acc1"] == pytest.approx(right("test", *chosen))
    assert result.metrics["acc1"] == pytest.approx(right("test", 0, 1)) == result.details["zero_shot"]
    several = evaluate(clip, data, "few-shot-cache", shots=(1, 4), draws=2)
    assert np.shape(several.details["accuracies"]) == (2, 2)
    with pytest.raises(ConfigError, match="embeds no texts"):
        evaluate(ImageSubject.of(clip), data, "few-shot-cache")


def test_neighbours_vote(clip: Clip, data: Path) -> None:
    result = evaluate(clip, data, "nearest-neighbours")
    assert result.metrics["knn_acc1"] > 0.9
    assert str(result.details["neighbours"]) in result.details["tried"]  # as JSON has it


def test_few_neighbours_have_no_top_five(tmp_path: Path, clip: Clip) -> None:
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 2)):
        for label in range(6):
            for i in range(count):
                colour = np.array([40 * label, 200 - 40 * label, 90]) + generator.normal(0, 60, (16, 16, 3))
                file = tmp_path / "six" / split / f"class {label}" / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.clip(colour, 0, 255).astype(np.uint8)).save(file)
    found = [evaluate(clip, tmp_path / "six", "nearest-neighbours", seed=seed) for seed in range(3)]
    for result in found:
        tables = [result.metrics, result.intervals, result.chance]
        assert ["knn_acc5" in table for table in tables] == [result.details["neighbours"] >= 5] * 3
    assert any("knn_acc5" not in result.metrics for result in found)


def test_a_class_that_one_split_has_not_does_not_shift_the_others(clip: Clip, data: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(data, tmp_path / "fewer")
    shutil.rmtree(tmp_path / "fewer" / "val" / "blue")
    result = evaluate(clip, tmp_path / "fewer", "linear-probe")
    pairs = zip(result.predictions["label"], result.predictions["predicted"], strict=True)
    assert np.mean([label == predicted for label, predicted in pairs if label != 0]) > 0.9  # 0 is blue
    shutil.rmtree(tmp_path / "fewer" / "test" / "blue")
    with pytest.raises(DataError, match="blue"):
        evaluate(clip, tmp_path / "fewer", "linear-probe")


@pytest.mark.parametrize("task", ["linear-probe", "few-shot", "few-shot-cache", "nearest-neighbours"])
def test_a_class_without_examples_is_missed_and_spoils_no_other(
    clip: Clip, data: Path, tmp_path: Path, task: str
) -> None:
    import shutil

    shutil.copytree(data, tmp_path / "lacking")
    for split in ("train", "val"):
        shutil.rmtree(tmp_path / "lacking" / split / "grey")
    options = {"shots": (8,), "draws": 1} if task.startswith("few-shot") else {}
    result = evaluate(clip, tmp_path / "lacking", task, **options)
    if task == "few-shot-cache":
        assert result.metrics["cache8_acc1"] > 0.5
    else:
        assert 0.6 < result.metrics[result.metric] <= 0.75


def test_what_learns_needs_examples(clip: Clip, data: Path) -> None:
    with pytest.raises(DataError, match="no split 'train'"):
        evaluate(clip, data / "test", "linear-probe")
    with pytest.raises(DataError, match="learns from examples"):
        evaluate(clip, open_splits(str(data)), "few-shot")
    with pytest.raises(ConfigError, match="no text tower"):
        evaluate(ImageSubject.of(clip), data, "zero-shot")
    with pytest.raises(ConfigError, match="solver applies to linear-probe, supervised-adaptation, not to zero-shot"):
        evaluate(clip, data, "zero-shot", solver="scikit-learn")


def test_classes_may_have_several_names(clip: Clip, data: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("blue | navy\ngreen\ngrey|gray\nred\n")
    named_twice = evaluate(clip, data, "zero-shot", class_names=tmp_path / "names.txt", templates="{}")
    names = [("blue", "navy"), ("green",), ("grey", "gray"), ("red",)]
    weights_CE = np.stack([clip.encode_texts(list(own)).mean(axis=0) for own in names])
    weights_CE /= np.linalg.norm(weights_CE, axis=1, keepdims=True)
    files = [data / "test" / key for key in named_twice.predictions["key"]]
    assert (clip.encode_images(files) @ weights_CE.T).argmax(axis=1).tolist() == list(
        named_twice.predictions["predicted"]
    )
    (tmp_path / "names.txt").write_text("blue\ngreen\n")
    with pytest.raises(ConfigError, match="2 class names are given, and colours has 4"):
        evaluate(clip, data, "zero-shot", class_names=tmp_path / "names.txt")


def test_a_data_set_of_the_table_has_its_prompts_and_metric_and_says_when_it_is_not_the_papers(
    clip: Clip, tmp_path: Path
) -> None:
    for split in ("train", "test"):
        for i, name in enumerate(f"breed {number:02}" for number in range(37)):
            for number in range(2):
                file = tmp_path / "pets" / split / name / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (16, 16), (i * 6, 90 + len(split), 200 - i * 5)).save(file)
    result = evaluate(clip, f"pets={tmp_path / 'pets'}", "zero-shot")
    assert (result.dataset, result.metric) == ("pets", "mean_per_class_recall")
    assert len(result.remarks) == 1
    assert "not the paper's split" in result.remarks[0]
    assert "3,669" in result.remarks[0]
    assert "not the paper's split" in str(result)
    assert evaluate(clip, f"pets={tmp_path / 'pets'}", "linear-probe").metric == "lp_mean_per_class_recall"
    with pytest.raises(DataError, match="37"):
        evaluate(clip, f"dtd={tmp_path / 'pets'}", "zero-shot")
    with pytest.raises(DataError, match="pets=FOLDER"):
        evaluate(clip, "pets", "zero-shot")
    with pytest.raises(ConfigError, match="did you mean 'pets'"):
        evaluate(clip, f"pest={tmp_path / 'pets'}", "zero-shot")


def test_a_place_is_taken_for_a_place(tmp_path: Path) -> None:
    odd = tmp_path / "dtd=x"
    odd.mkdir()
    assert named(str(odd)) == (str(odd), None)
    assert named(f"dtd={odd}") == (str(odd), DATASETS["dtd"])
    assert named("s3://bucket/a=b/{0..3}.tar") == ("s3://bucket/a=b/{0..3}.tar", None)


@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
def test_how_sure_answers_are_and_what_prompts_give(clip: Clip, data: Path, scores: str) -> None:
    if scores == "sigmoid":
        clip = create(dataclasses.replace(SPEC, scores="sigmoid"), seed=0, tokenizer=clip.tokenizer)
        with torch.no_grad():
            clip.model.logit_bias.fill_(-clip.similarity_scale * 0.05)  # of untrained towers no score is near SigLIP's
    result = evaluate(clip, data, "zero-shot", none_of_these=0.3, ablate_prompts=True)
    confidence_N, right_N = np.array(result.predictions["confidence"]), np.array(result.predictions["rank"]) == 1
    files = [data / "test" / key for key in result.predictions["key"]]
    classifier = clip.classifier(["blue", "green", "grey", "red"])
    assert confidence_N == pytest.approx(classifier.predict_proba(files).max(axis=1), abs=1e-5)
    assert result.details["calibration"]["probabilities"] == scores
    answered_N = confidence_N >= 0.3
    assert result.metrics["answered"] == answered_N.mean()
    if answered_N.any():
        assert result.metrics["acc1_answered"] == right_N[answered_N].mean()
    assert sum(own["count"] for own in result.details["calibration"]["bins"]) == 24
    assert 0 <= result.metrics["ece"] <= 1
    study = result.details["ablation"]
    assert list(study) == ["name", "template", "hint", "ensemble"]
    plain = evaluate(clip, data, "zero-shot", templates="{}")
    assert study["name"]["acc1"] == plain.metrics["acc1"]
    assert "gain" not in study["name"]  # what is compared with itself has none
    assert study["template"]["templates"] == ["a photo of a {}."]
    assert list(study["ensemble"]["templates"]) == list(templates("photo-ensemble"))
    gain = evaluate(clip, data, "zero-shot", templates="photo-ensemble").metrics["acc1"] - plain.metrics["acc1"]
    assert study["ensemble"]["gain"] == pytest.approx(gain)
    assert "prompts: ensemble" in str(result)
    assert "prompts: name" in str(result)
    own = evaluate(clip, data, "zero-shot", templates=["one {}", "two {}"], ablate_prompts=True)
    assert own.details["ablation"]["ensemble"]["templates"] == ["one {}", "two {}"]
    assert own.details["ablation"]["ensemble"]["acc1"] == own.metrics["acc1"]
    with pytest.raises(ConfigError, match="between 0 and 1"):
        evaluate(clip, data, "zero-shot", none_of_these=30)


def test_a_file_that_an_option_names_counts_by_what_it_holds(clip: Clip, data: Path, tmp_path: Path) -> None:
    clip.save(tmp_path / "clip")
    (tmp_path / "templates.txt").write_text("a photo of a {}.\n")

    def made() -> tuple[bool, dict[str, str]]:
        asked = {"templates": str(tmp_path / "templates.txt")}
        (outcome,) = run([Model(str(tmp_path / "clip"))], [Data(str(data))], ["zero-shot"], tmp_path / "out", **asked)
        assert outcome.result
        return outcome.made, outcome.result.features

    first, features = made()
    assert first
    assert (tmp_path / "out" / "features" / features["test"] / "00000.parquet").exists()
    assert not made()[0]
    (tmp_path / "templates.txt").write_text("one {}\n")
    assert made()[0]


def test_a_row_of_ones_own_gives_the_same_by_every_way(clip: Clip, data: Path, tmp_path: Path) -> None:
    own, several = tmp_path / "own.toml", tmp_path / "several.toml"
    row = (
        f'[[dataset]]\nname = "{{}}"\nlocation = "{data}"\nsplit = "val"\nmetric = "mean_per_class_recall"\n'
        'templates = "textures"\n'
    )
    own.write_text(row.format("ours"))
    several.write_text(row.format("ours") + row.format("theirs"))
    clip.save(tmp_path / "clip")
    (outcome,) = run([Model(str(tmp_path / "clip"))], data_at(str(own)), ["zero-shot"], None)
    assert outcome.result is not None
    for given in (own, str(own), read_rows(own)[0], read_rows(several)[1]):
        result = evaluate(clip, given, "zero-shot")
        assert result.metrics == outcome.result.metrics
        assert (result.split, result.metric, result.samples) == ("val", "mean_per_class_recall", 20)
        assert result.fingerprints["templates"] == outcome.result.fingerprints["templates"]
    assert evaluate(clip, read_rows(own)[0], "linear-probe").metric == "lp_mean_per_class_recall"
    with pytest.raises(ConfigError, match=r"several\.toml has the data sets ours, theirs; take one"):
        evaluate(clip, several)
    with pytest.raises(ConfigError, match=r"where Oxford-IIIT Pets lies is not known; evaluate 'pets=FOLDER'"):
        evaluate(clip, DATASETS["pets"])
    with pytest.raises(ConfigError, match="a location, a row, Splits or a Source is evaluated on, not"):
        evaluate(clip, read_rows(several))


def test_the_same_data_have_the_same_prompts_with_and_without_a_row(clip: Clip, data: Path, tmp_path: Path) -> None:
    def templates() -> set[str]:
        row = Row(name="ours", title="Ours", location=str(data), prompts="")
        return {evaluate(clip, given, "zero-shot").fingerprints["templates"] for given in (data, row)}

    plain = templates()
    assert len(plain) == 1
    (data / "zeroshot_classification_templates.txt").write_text("a patch of {c}\n")
    try:
        assert len(own := templates()) == 1
        assert own != plain
    finally:
        (data / "zeroshot_classification_templates.txt").unlink()
