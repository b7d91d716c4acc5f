"""Data that are shifted from others: what names of their own give, and a probe of the others, computed by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import SPEC

from diptych.cli.main import main
from diptych.data.sources import Sample
from diptych.encoder.clip import Clip
from diptych.encoder.loading import create
from diptych.encoder.subject import ImageSubject
from diptych.errors import ConfigError, DataError
from diptych.evaluation import probing
from diptych.evaluation.datasets import Row
from diptych.evaluation.plan import Splits
from diptych.evaluation.probes import search
from diptych.evaluation.result import Result
from diptych.evaluation.runner import Data, Model, run
from diptych.evaluation.split import Labelled
from diptych.evaluation.tasks import evaluate
from diptych.text.tokenizer import Tokenizer

# Of a handful of images any strength of the penalty may be the best, and the weakest does not converge.
pytestmark = pytest.mark.filterwarnings(
    "ignore:the best strength",
    "ignore:.*did not reach the tolerance",
    "ignore:.*fewer than",
    "ignore:.*none to learn from",
    "ignore:zero-shot is not surely better",
)

COLOURS = {"blue": (40, 40, 220), "green": (30, 200, 40), "grey": (128, 128, 128), "red": (220, 30, 30)}
SKETCHES = {"cold": ("blue", "green"), "Red": ("red",)}  # grey is not there
MAPPING = {"cold": ("blue", "green")}
ROWS = [[3], [0, 1]]  # of Red and cold, as folders are sorted, among the colours


class Drawn:
    """A source of these samples."""

    templates: tuple[str, ...] | None = None

    def __init__(self, name: str, class_names: tuple[str, ...] | None, samples: list[Sample]) -> None:
        self.name, self.class_names, self.samples = name, class_names, samples

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, i: int, /) -> Sample:
        return self.samples[i]


@pytest.fixture(scope="module")
def clip() -> Clip:
    tokenizer = Tokenizer.train(["a photo of a red green blue grey cold"], vocabulary_size=530, context_length=60)
    return create(SPEC, seed=0, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of four colours with some noise, and sketches of three of them, paler and noisier."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)

    def draw(where: str, name: str, colours: tuple[str, ...], count: int, pale: float, noise: float) -> None:
        for i in range(count):
            colour = np.array(COLOURS[colours[i % len(colours)]]) * (1 - pale) + 255 * pale
            pixels = np.clip(colour + generator.normal(0, noise, (16, 16, 3)), 0, 255).astype(np.uint8)
            file = folder / where / name / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)

    for split, count in (("train", 10), ("val", 5), ("test", 6)):
        for name in COLOURS:
            draw(f"photos/{split}", name, (name,), count, 0, 60)
    for name, colours in SKETCHES.items():
        draw("sketches", name, colours, 9, 0.7, 90)
    return folder


def read(folder: Path, clip: Clip, kind: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features, numbers of class folders, and keys."""
    files = sorted(folder.glob("*/*.png"))
    names = sorted({file.parent.name for file in files})
    labels_N = np.array([names.index(file.parent.name) for file in files])
    images = ImageSubject.of(clip).features(files) if kind == "features" else clip.encode_images(files)
    return images, labels_N, [str(file.relative_to(folder)) for file in files]


def by_hand(scores_NC: np.ndarray, labels_N: np.ndarray) -> tuple[list[int], float]:
    """Answers among the two classes of the sketches, by the best of what each stands for, and their accuracy."""
    pooled_N2 = np.stack([scores_NC[:, rows].max(axis=1) for rows in ROWS], axis=1)
    answers_N = pooled_N2.argmax(axis=1)
    return answers_N.tolist(), float((answers_N == labels_N).mean())


def test_a_probe_of_the_source_is_tested_under_shift_and_on_the_same_classes(clip: Clip, folder: Path) -> None:
    shifted = folder / "sketches"
    result = evaluate(clip, shifted, "supervised-adaptation", shifted_from=folder / "photos", mapping=MAPPING)
    assert (result.dataset, result.task, result.metric) == ("sketches", "supervised_adaptation", "lp_acc1")
    splits = {split: read(folder / "photos" / split, clip, "features") for split in ("train", "val", "test")}
    train, validation = (Labelled(*splits[split][:2]) for split in ("train", "val"))
    probe = search(train, validation).probe
    features_ND, labels_N, keys = read(shifted, clip, "features")
    place = {key: number for number, key in enumerate(result.predictions["key"])}
    order = [place[key] for key in keys]
    answers, accuracy = by_hand(features_ND @ probe.weights_CD.T + probe.bias_C, labels_N)
    assert [result.predictions["predicted"][i] for i in order] == answers
    assert result.metrics["lp_acc1"] == pytest.approx(accuracy)
    features_ND, labels_N, _ = splits["test"]
    ours_N = np.array([1, 1, -1, 0])[labels_N]
    scores_NC = (features_ND @ probe.weights_CD.T + probe.bias_C)[ours_N >= 0]
    answers, accuracy = by_hand(scores_NC, ours_N[ours_N >= 0])
    assert result.metrics["in_distribution_lp_acc1"] == pytest.approx(accuracy)
    assert len(result.source_predictions["key"]) == 18
    assert result.details["shift"] == {
        "source": "photos",
        "split": "test",
        "images": 18,
        "classes": 2,
        "source_classes": 4,
        "mapping": {"Red": ["red"], "cold": ["blue", "green"]},
    }
    assert result.options == {"mapping": {"cold": ["blue", "green"]}, "shifted_from": "photos"}
    assert set(result.fingerprints) >= {"data", "data of source", "data of train", "data of validation"}
    bare = evaluate(
        ImageSubject.of(clip), shifted, "supervised-adaptation", shifted_from=folder / "photos", mapping=MAPPING
    )
    assert bare.metrics == result.metrics


def test_names_of_the_source_are_pooled_and_its_own_compared_with_them(clip: Clip, folder: Path) -> None:
    shifted = folder / "sketches"
    plain = evaluate(clip, shifted)
    result = evaluate(clip, shifted, shifted_from=folder / "photos", mapping=MAPPING)
    assert plain.metrics.items() <= result.metrics.items()
    assert plain.fingerprints["templates"] != result.fingerprints["templates"]  # the source's prompts count too
    weights_CE = clip.classifier(list(COLOURS)).weights_CE
    images_NE, labels_N, keys = read(shifted, clip, "embeddings")
    place = {key: number for number, key in enumerate(result.predictions["key"])}
    order = [place[key] for key in keys]
    answers, accuracy = by_hand(images_NE @ weights_CE.T, labels_N)
    assert [result.predictions["source_names_predicted"][i] for i in order] == answers
    assert result.metrics["source_names_acc1"] == pytest.approx(accuracy)
    images_NE, labels_N, keys = read(folder / "photos" / "test", clip, "embeddings")
    ours_N = np.array([1, 1, -1, 0])[labels_N]
    scores_NC = (images_NE @ weights_CE.T)[ours_N >= 0]
    answers, accuracy = by_hand(scores_NC, ours_N[ours_N >= 0])
    of_these = [key for key, own in zip(keys, ours_N, strict=True) if own >= 0]
    told = zip(result.source_predictions["key"], result.source_predictions["predicted"], strict=True)
    assert dict(told) == dict(zip(of_these, answers, strict=True))
    assert result.metrics["in_distribution_acc1"] == pytest.approx(accuracy)
    pooled_N2 = clip.similarity_scale * np.stack([scores_NC[:, rows].max(axis=1) for rows in ROWS], axis=1)
    confidence_N = np.exp(pooled_N2.max(axis=1)) / np.exp(pooled_N2).sum(axis=1)
    assert sorted(result.source_predictions["confidence"]) == pytest.approx(sorted(confidence_N), rel=1e-3)
    shift = result.details["shift"]
    assert shift["own_prompts"]
    assert shift["gain"]["difference"] == pytest.approx(plain.metrics["acc1"] - result.metrics["source_names_acc1"])
    assert "shifted from photos, of 4 classes; among 2 here" in str(result)


@pytest.mark.filterwarnings("ignore:.*calibration is left out")
def test_a_shift_without_a_temperature_has_no_probabilities(clip: Clip, folder: Path) -> None:
    broken = create(SPEC, seed=0, tokenizer=clip.tokenizer)
    cold = {"cold": ["blue", "green", "grey"]}
    fine = evaluate(broken, folder / "sketches", "zero-shot", shifted_from=folder / "photos", mapping=cold)
    with torch.no_grad():
        broken.model.logit_scale.fill_(np.nan)
    found = evaluate(broken, folder / "sketches", "zero-shot", shifted_from=folder / "photos", mapping=cold)
    assert found.metrics == {name: value for name, value in fine.metrics.items() if name != "ece"}
    for table in ("predictions", "source_predictions"):
        left = {name for name in getattr(fine, table) if name not in ("confidence", "nll", "brier")}
        assert getattr(found, table) == {name: getattr(fine, table)[name] for name in left}


def test_templates_are_of_both_names_and_class_names_of_its_own_alone(clip: Clip, folder: Path) -> None:
    shifted, asked = folder / "sketches", {"templates": "{}", "class_names": ["crimson", "chilly"]}
    result = evaluate(clip, shifted, shifted_from=folder / "photos", mapping=MAPPING, **asked)
    images_NE, labels_N, keys = read(shifted, clip, "embeddings")
    place = {key: number for number, key in enumerate(result.predictions["key"])}
    order = [place[key] for key in keys]
    answers, accuracy = by_hand(images_NE @ clip.classifier(list(COLOURS), "{}").weights_CE.T, labels_N)
    assert [result.predictions["source_names_predicted"][i] for i in order] == answers
    assert result.metrics["source_names_acc1"] == pytest.approx(accuracy)
    own_N = (images_NE @ clip.classifier(asked["class_names"], "{}").weights_CE.T).argmax(axis=1)
    assert [result.predictions["predicted"][i] for i in order] == own_N.tolist()
    assert result.class_names == ("crimson", "chilly")


def test_a_subset_by_the_same_names_gains_nothing(clip: Clip, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    for name in ("grey", "blue"):
        (tmp_path / "some" / name).symlink_to(folder / "photos" / "test" / name)
    result = evaluate(clip, tmp_path / "some", shifted_from=folder / "photos")
    shift = result.details["shift"]
    assert not shift["own_prompts"]
    assert shift["gain"]["difference"] == 0
    assert result.metrics["in_distribution_acc1"] == result.metrics["source_names_acc1"] == result.metrics["acc1"]
    over_all = evaluate(clip, folder / "photos")
    ranks = dict(zip(over_all.predictions["key"], over_all.predictions["rank"], strict=True))
    of_these = [ranks[key] == 1 for key in result.source_predictions["key"]]
    assert result.metrics["in_distribution_acc1"] >= np.mean(of_these)  # two classes are easier than four
    assert result.chance["in_distribution_acc1"] == 0.5


def test_what_cannot_be_shifted_is_told(clip: Clip, folder: Path, tmp_path: Path) -> None:
    photos, sketches = folder / "photos", folder / "sketches"
    with pytest.raises(DataError, match="1 of the 2 classes of sketches are none of the 4 of photos: 'cold'"):
        evaluate(clip, sketches, "supervised-adaptation", shifted_from=photos)
    with pytest.raises(ConfigError, match=r"learns from one data set and measures on another.*--shifted-from"):
        evaluate(clip, sketches, "supervised-adaptation")
    with pytest.raises(ConfigError, match="shifted_from applies to zero-shot, supervised-adaptation, not to few-shot"):
        evaluate(clip, photos, "few-shot", shifted_from=photos)
    with pytest.raises(ConfigError, match=r"a mapping is for data that are shifted.*--shifted-from"):
        evaluate(clip, sketches, mapping=MAPPING)
    with pytest.raises(DataError, match="no split 'train'"):
        evaluate(clip, sketches, "supervised-adaptation", shifted_from=photos / "test", mapping=MAPPING)
    pictures = [Sample(np.zeros((16, 16, 3), np.uint8), (), 0, str(i)) for i in range(3)]
    with pytest.raises(DataError, match="no image of few is of one of the 1 classes of drawings"):
        evaluate(clip, Drawn("drawings", ("b",), pictures), shifted_from=Drawn("few", ("a", "b"), pictures))


def test_a_class_that_no_example_showed_is_never_answered(clip: Clip, folder: Path, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for name in COLOURS if split == "test" else ("blue", "red", "green"):
            (tmp_path / "data" / split).mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / split / name).symlink_to(folder / "photos" / split / name)
    result = evaluate(clip, tmp_path / "data", "linear-probe")
    assert 2 not in result.predictions["predicted"]  # grey
    assert result.metrics["lp_acc1"] > 0.5
    assert np.isfinite(result.predictions["confidence"]).all()


def test_the_command_line_keeps_the_probe_and_makes_nothing_twice(
    clip: Clip, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip.save(tmp_path / "clip")
    (tmp_path / "names.txt").write_text("cold = blue | green\n")
    searches: list[int] = []
    monkeypatch.setattr(probing, "search", lambda *a, **k: searches.append(1) or search(*a, **k))
    arguments = ["evaluate", str(tmp_path / "clip"), str(folder / "sketches"), "--out", str(tmp_path / "out")]
    arguments += ["--shifted-from", str(folder / "photos"), "--mapping", str(tmp_path / "names.txt"), "--json"]
    arguments += ["--task", "zero-shot", "--task", "supervised-adaptation"]
    assert main(arguments) == 0
    named, learned = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert {"acc1", "source_names_acc1", "in_distribution_acc1"} <= named["metrics"].keys()
    assert learned["details"]["shift"]["mapping"] == {"Red": ["red"], "cold": ["blue", "green"]}
    (file,) = (tmp_path / "out").glob("*supervised-adaptation*.json")
    assert len(Result.load(file).source_predictions["rank"]) == 18
    assert main(arguments) == 0
    assert capsys.readouterr().err.count("was already in") == 2
    assert len(searches) == 1
    # The same probe on its own data, and on the same classes of another set: no search more.
    there = [str(tmp_path / "clip"), "--out", str(tmp_path / "out")]
    photos = str(folder / "photos")
    assert main(["evaluate", *there[:1], photos, *there[1:], "--task", "linear-probe", "--task", "few-shot"]) == 0
    assert main(["evaluate", *there[:1], photos, *there[1:], "--task", "linear-probe", "--seed", "1"]) == 0
    assert len(searches) == 2  # the other seed would hold out others
    (probe, _) = sorted((tmp_path / "out" / "features").glob("*/probe-*.npz"), key=lambda file: file.stat().st_mtime_ns)
    probe.write_bytes(b"none")
    file.unlink()
    assert main(arguments) == 0
    assert "holds no probe" in capsys.readouterr().err
    assert json.loads(file.read_text())["metrics"] == learned["metrics"]
    assert main([*arguments[:-4], "--task", "linear-probe", "--task", "retrieval"]) == 2
    capsys.readouterr()
    row = '[[dataset]]\nname = "{}"\nlocation = "' + photos + '"\n'
    (tmp_path / "own.toml").write_text(row.format("ours") + row.format("theirs"))
    named_twice = [str(tmp_path / "own.toml") if word == photos else word for word in arguments]
    assert main(named_twice) == 2
    assert "several data sets, ours, theirs; others are shifted from one" in capsys.readouterr().err
    (tmp_path / "own.toml").write_text(row.format("ours"))
    assert main(named_twice) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["details"]["shift"]["source"] == "ours"


def test_a_mapping_counts_by_what_it_holds(clip: Clip, folder: Path, tmp_path: Path) -> None:
    clip.save(tmp_path / "clip")
    file = tmp_path / "names.txt"
    file.write_text("cold = blue | green\n")
    data = Data(str(folder / "sketches"), shifted_from=Data(str(folder / "photos")))

    def made() -> tuple[bool, list[str]]:
        told = {"mapping": str(file)}
        (outcome,) = run([Model(str(tmp_path / "clip"))], [data], ["zero-shot"], tmp_path / "out", **told)
        assert outcome.result, outcome.problem
        return outcome.made, outcome.result.details["shift"]["mapping"]["cold"]

    assert made() == (True, ["blue", "green"])
    assert made() == (False, ["blue", "green"])
    file.write_text("cold = blue\n")
    assert made() == (True, ["blue"])
    Image.new("RGB", (16, 16)).save(folder / "photos" / "test" / "red" / "more.png")
    assert made()[0]
    (folder / "photos" / "test" / "red" / "more.png").unlink()


def test_a_probe_may_begin_from_zero_shot(clip: Clip, folder: Path) -> None:
    photos = folder / "photos"
    zeros, zero_shot = (evaluate(clip, photos, "linear-probe", start=start) for start in ("zeros", "zero-shot"))
    assert zero_shot.options == {"start": "zero-shot"}
    assert set(zero_shot.fingerprints) - set(zeros.fingerprints) == {"templates"}
    first = [result.details["probe"]["tried"][0] for result in (zeros, zero_shot)]
    assert [one["strength"] for one in first] == [1e6, 1e6]
    # Before anything is learned it answers about as zero-shot does, and the other says nothing of the image.
    images_NE, labels_N, _ = read(photos / "val", clip, "embeddings")
    by_name = (images_NE @ clip.classifier(list(COLOURS)).weights_CE.T).argmax(axis=1) == labels_N
    assert first[1]["metric"] == pytest.approx(by_name.mean(), abs=0.3)
    shots = evaluate(clip, photos, "few-shot", shots=(1,), draws=1, start="zero-shot")
    assert shots.metrics["lp_acc1"] == zero_shot.metrics["lp_acc1"]
    learned = evaluate(
        clip, folder / "sketches", "supervised-adaptation", shifted_from=photos, mapping=MAPPING, start="zero-shot"
    )
    assert learned.details["probe"] == zero_shot.details["probe"]
    assert "templates" in learned.fingerprints
    with pytest.raises(ConfigError, match="embeds no texts, so a probe of it begins from zeros"):
        evaluate(ImageSubject.of(clip), photos, "linear-probe", start="zero-shot")
    with pytest.raises(ConfigError, match=r"there is no start 'zero'; .*zeros"):
        evaluate(clip, photos, "linear-probe", start="zero")


def samples(labels: list[int], folder: Path) -> list[Sample]:
    files = sorted(folder.glob("photos/test/*/*.png"))
    return [Sample(files[i], (), label, f"s{i}") for i, label in enumerate(labels)]


@pytest.mark.filterwarnings("ignore:photos has several classes of one name")
def test_classes_are_found_by_wordnets_numbers_where_their_names_are_others(clip: Clip, folder: Path) -> None:
    """Two of the source's are called alike, so no name tells them apart."""
    source = Drawn("photos", ("crane", "red", "crane"), samples([0, 1, 2, 0, 1], folder))
    shifted = Drawn("sketches", ("Red", "crane"), samples([0, 1, 1, 0], folder))
    assert evaluate(clip, shifted, shifted_from=source).details["shift"]["images"] == 5  # both are the crane
    source.class_ids, shifted.class_ids = ("n1", "n2", "n3"), ("n2", "n3")
    result = evaluate(clip, shifted, shifted_from=source)
    assert result.details["shift"]["images"] == 3  # of n2 and n3
    assert result.details["shift"]["mapping"] == {"Red": ["red"], "crane": ["crane"]}


@pytest.mark.filterwarnings("ignore:.* has several classes of one name")
def test_classes_that_the_source_calls_alike_are_ranked_in_their_order(clip: Clip, folder: Path) -> None:
    """No model tells the two cranes apart by the source's name: the first is answered, the second is a rank behind."""
    source = Drawn("photos", ("crane", "red", "crane"), samples([0, 1, 2, 0, 1], folder))
    shifted = Drawn("sketches", ("bird", "machine", "red"), samples([0, 1, 2] * 6, folder))
    source.class_ids, shifted.class_ids = ("n1", "n2", "n3"), ("n1", "n3", "n2")
    result = evaluate(clip, shifted, shifted_from=source)
    weights_CE = clip.classifier(["crane", "red"]).weights_CE
    scores_N2 = clip.encode_images([sample.image for sample in shifted.samples]) @ weights_CE.T
    crane_N = scores_N2[:, 0] > scores_N2[:, 1]
    assert result.predictions["source_names_predicted"] == tuple(np.where(crane_N, 0, 2).tolist())
    by_label = [np.where(crane_N, 1, 2), np.where(crane_N, 2, 3), np.where(crane_N, 3, 1)]
    assert result.predictions["source_names_rank"] == tuple(int(by_label[i % 3][i]) for i in range(18))


def test_classes_that_files_group_are_pooled_and_what_has_none_is_never_answered(clip: Clip, folder: Path) -> None:
    names = tuple(f"class {number}" for number in range(1000))
    source = Drawn("photos", names, samples([7, 8, 900, 3], folder))
    shifted = Drawn("sketches", ("cold", "plant", "Red"), samples([0, 1, 2, 0, 1], folder))
    shifted.members = ((7, 8), (), (900,))
    result = evaluate(clip, shifted, shifted_from=source)
    assert result.details["shift"]["mapping"] == {"cold": ["class 7", "class 8"], "plant": [], "Red": ["class 900"]}
    assert 1 not in result.predictions["source_names_predicted"]
    weights_CE = clip.classifier([names[number] for number in (7, 8, 900)]).weights_CE
    images_NE = clip.encode_images([sample.image for sample in shifted.samples])
    scores_N3 = images_NE @ weights_CE.T
    cold_N = scores_N3[:, :2].max(axis=1) > scores_N3[:, 2]
    assert result.predictions["source_names_predicted"] == tuple(np.where(cold_N, 0, 2).tolist())
    assert result.metrics["source_names_acc1"] == np.mean([cold_N[0], False, not cold_N[2], cold_N[3], False])
    asked = {name: ("class 3",) if name == "plant" else ("class 7",) for name in ("cold", "plant")}
    said = evaluate(clip, shifted, shifted_from=source, mapping=asked | {"Red": ("class 8", "class 9")})
    assert said.details["shift"]["mapping"] == {
        "cold": ["class 7"],
        "plant": ["class 3"],
        "Red": ["class 8", "class 9"],
    }


def test_whether_prompts_are_its_own(clip: Clip, folder: Path) -> None:
    """They are where a template is another, a name is, or a name of the source is one of several that a class has."""
    source = Drawn("photos", ("blue", "green", "red"), samples([0, 1, 2], folder))

    def own(names: tuple[str, ...], theirs: tuple[str, ...] | None = None, **asked: object) -> bool:
        shifted = Drawn("sketches", names, samples([0, 1], folder))
        shifted.templates = theirs
        return evaluate(clip, shifted, shifted_from=source, **asked).details["shift"]["own_prompts"]

    assert not own(("red", "blue"))
    assert own(("red", "blue"), ("a sketch of {c}",))
    assert not own(("red", "blue"), ("a sketch of {c}",), templates="{}")
    assert own(("red", "blue"), mapping={"blue": ("blue", "green")})
    assert own(("red", "blue"), class_names=["red", "navy"])


def test_data_in_which_one_class_is_looked_for_are_not_compared(clip: Clip, folder: Path) -> None:
    row = Row(name="own", title="Own", kind="binary", metric="roc_auc")
    source = Drawn("photos", ("no", "yes"), samples([0, 1, 0], folder))
    with pytest.raises(ConfigError, match="images of one class each, and own is binary"):
        evaluate(clip, Splits(source, row=row), shifted_from=source)
