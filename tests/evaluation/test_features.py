"""What is kept of a pass over images: made once, gone on with, made again where it is damaged or data are others."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import SPEC

from diptych.data.sources import Source, open_source
from diptych.encoder.clip import Clip
from diptych.encoder.loading import create
from diptych.encoder.subject import ImageSubject
from diptych.errors import TooManyFailures
from diptych.evaluation import embedding
from diptych.evaluation.datasets import Row
from diptych.evaluation.features import Features, embed
from diptych.evaluation.opening import open_dataset

BOTH = ("embeddings", "features")


@pytest.fixture(scope="module")
def clip() -> Clip:
    return create(SPEC, seed=0)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fifteen images of two classes, one of them broken: four parts of two batches of two."""
    monkeypatch.setattr("diptych.evaluation.embedding.BATCH", 2)
    monkeypatch.setattr("diptych.evaluation.embedding.BATCHES", 2)
    folder = tmp_path / "data"
    for i in range(15):
        file = folder / ("cat" if i < 8 else "dog") / f"{i:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 16), (i * 15, 255 - i * 15, i % 7 * 30)).save(file)
    (folder / "cat" / "05.png").write_bytes(b"nothing")
    return folder


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the model was shown, pass by pass."""
    counts: list[int] = []
    original = embedding.outputs

    def counting(subject: Clip, pixels_BCHW: object) -> object:
        counts.append(len(pixels_BCHW))
        return original(subject, pixels_BCHW)

    monkeypatch.setattr("diptych.evaluation.embedding.outputs", counting)
    return counts


def same(a: Features, b: Features) -> bool:
    arrays = ((a.embeddings_NE, b.embeddings_NE), (a.features_ND, b.features_ND))
    rest = [(x.captions, x.labels, x.keys, x.failures, x.fingerprint) for x in (a, b)]
    return all(np.array_equal(*pair) for pair in arrays) and rest[0] == rest[1]


def test_a_second_pass_reads_what_the_first_one_kept(
    clip: Clip, data: Path, tmp_path: Path, seen: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    kept, source = tmp_path / "kept", open_source(data)
    plain = embed(clip, source, "label", wanted=BOTH)
    assert plain.embeddings_NE.shape == (14, 16)
    assert plain.features_ND.shape == (14, 24)
    seen.clear()
    first = embed(clip, source, "label", wanted=BOTH, folder=kept)
    assert sum(seen) == 14
    assert capsys.readouterr().err == ""  # nothing is damaged where nothing was
    again = embed(clip, open_source(data), "label", wanted=BOTH, folder=kept)
    assert sum(seen) == 14
    assert same(plain, first)
    assert same(first, again)
    assert again.failures[0].startswith("cat/05.png")
    (folder,) = kept.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [*(f"0000{i}.parquet" for i in range(4)), "about.json"]
    assert json.loads((folder / "about.json").read_text())["model"] == "tiny"
    alone = embed(clip, source, wanted=("features",), folder=kept)
    assert sum(seen) == 14
    assert np.array_equal(alone.features_ND, plain.features_ND)
    assert alone.embeddings_NE.shape == (14, 0)


def test_features_are_what_a_subject_sees(clip: Clip, data: Path) -> None:
    both = embed(clip, open_source(data), wanted=BOTH)
    subject = ImageSubject.of(clip)
    files = [data / key for key in both.keys]
    assert np.abs(both.features_ND - subject.features(files)).max() < 1e-5
    assert np.abs(both.embeddings_NE - clip.encode_images(files)).max() < 1e-6
    alone = embed(subject, open_source(data), wanted=BOTH)
    assert np.array_equal(alone.features_ND, both.features_ND)
    assert alone.embeddings_NE.shape == (14, 0)


@pytest.mark.parametrize("row", [Row(name="own", title="Own", metric="acc1"), None])
def test_rows_without_a_label_count_as_samples_that_cannot_be_used(clip: Clip, tmp_path: Path, row: Row | None) -> None:
    lines = ["image\tlabel"]
    for i in range(20):
        Image.new("RGB", (20, 16), (i * 12, 0, 0)).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png\t{'' if i < 3 else ('cat', 'dog')[i % 2]}")
    table = tmp_path / "rows.tsv"
    table.write_text("\n".join(lines))
    source = open_dataset(row, table, None) if row else open_source(table)
    with pytest.raises(TooManyFailures, match=r"3 samples of .* 10% of its 20; the first: .*rows\.tsv, row 1 has"):
        embed(clip, source, "label")
    some = embed(clip, source, "label", allowed_failures=0.15)
    assert len(some.keys) == 17
    assert len(some.failures) == 3


def test_a_pass_that_was_cut_off_goes_on(clip: Clip, data: Path, tmp_path: Path, seen: list[int]) -> None:
    kept = tmp_path / "kept"
    whole = embed(clip, open_source(data), wanted=BOTH, folder=kept)
    (folder,) = kept.iterdir()
    (folder / "00001.parquet").unlink()
    damaged = bytearray((folder / "00002.parquet").read_bytes())
    damaged[len(damaged) // 3] ^= 1
    (folder / "00002.parquet").write_bytes(damaged)
    (folder / "00003.parquet").write_bytes((folder / "00003.parquet").read_bytes()[:-20])
    seen.clear()
    assert same(embed(clip, open_source(data), wanted=BOTH, folder=kept), whole)
    assert sum(seen) == 3 + 4 + 3


@pytest.mark.parametrize("change", ["image", "weights", "precision", "where"])
def test_what_was_seen_of_other_data_or_by_another_model_is_not_taken(
    change: str, clip: Clip, data: Path, tmp_path: Path, seen: list[int]
) -> None:
    kept = tmp_path / "kept"
    before = embed(clip, open_source(data), folder=kept)
    seen.clear()
    if change == "image":
        file = data / "dog" / "11.png"
        state = file.stat()
        Image.new("RGB", (20, 16), (1, 2, 3)).save(file)
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    elif change == "weights":
        clip = create(SPEC, seed=1)
    elif change == "precision":
        clip = Clip(clip.model, precision="fast")
    else:
        (data / "cat" / "01.png").unlink()
    after = embed(clip, open_source(data), folder=kept)
    assert sum(seen) >= 13
    assert len(list(kept.iterdir())) == 2
    assert not same(before, after)


@pytest.mark.parametrize("place", ["torch.__version__", "diptych.evaluation.features.BATCH"])
def test_what_another_version_saw_or_in_other_batches_is_not_taken(
    place: str, clip: Clip, data: Path, tmp_path: Path, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either may change the last digits."""
    embed(clip, open_source(data), folder=tmp_path / "kept")
    monkeypatch.setattr(place, "3")
    embed(clip, open_source(data), folder=tmp_path / "kept")
    assert sum(seen) == 28
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_what_was_kept_is_held_to_the_failures_that_are_allowed_now(clip: Clip, data: Path, tmp_path: Path) -> None:
    embed(clip, open_source(data), folder=tmp_path / "kept", allowed_failures=0.1)
    with pytest.raises(TooManyFailures, match="1 samples of data cannot be used, more than 1% of its 15; the first"):
        embed(clip, open_source(data), folder=tmp_path / "kept", allowed_failures=0.01)
    assert len(embed(clip, open_source(data), allowed_failures=1 / 15).keys) == 14  # as many as are allowed


def test_what_is_not_looked_at_may_be_no_number(clip: Clip, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = embedding.outputs

    def damaged(*arguments: object) -> tuple[np.ndarray, np.ndarray]:
        embeddings_BE, features_BD = outputs(*arguments)
        return embeddings_BE, features_BD * np.nan

    monkeypatch.setattr("diptych.evaluation.embedding.outputs", damaged)
    assert len(embed(clip, open_source(data), wanted=("embeddings",)).keys) == 14
    with pytest.raises(TooManyFailures, match="no finite number"):
        embed(clip, open_source(data), wanted=BOTH)


def test_drawn_data_are_not_kept(clip: Clip, tmp_path: Path) -> None:
    from diptych.data.scenes import Scenes

    drawn: Source = Scenes("unseen-pairs", count=4, size=16)
    assert len(embed(clip, drawn, folder=tmp_path / "kept").keys) == 4
    assert not (tmp_path / "kept").exists()


def test_where_nothing_can_be_kept_the_numbers_are_the_same(
    clip: Clip, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept").write_text("a file")
    plain = embed(clip, open_source(data))
    assert same(embed(clip, open_source(data), folder=tmp_path / "kept"), plain)
    assert "embeddings cannot be kept" in capsys.readouterr().err
