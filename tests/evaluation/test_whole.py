"""What no number is made of: tars that were cut off, images that the system keeps back, labels of no class."""

import io
import json
import os
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image
from tiny import SPEC

from diptych.data.sources import Sample, open_source
from diptych.encoder.clip import Clip
from diptych.encoder.loading import create
from diptych.errors import DataError, UnknownClass
from diptych.evaluation.datasets import Row
from diptych.evaluation.plan import Splits
from diptych.evaluation.runner import Data, Model, Outcome, run
from diptych.evaluation.splits import open_splits
from diptych.evaluation.tasks import evaluate
from diptych.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def clip() -> Clip:
    tokenizer = Tokenizer.train(["a photo of a red green blue"], vocabulary_size=530, context_length=60)
    return create(SPEC, seed=0, tokenizer=tokenizer)


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (number * 7 % 256, 90, number % 256)).save(buffer, "PNG")
    return buffer.getvalue()


def multi_hot(*numbers: int) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array(numbers))
    return buffer.getvalue()


def folder_of_tars(folder: Path, samples: dict[str, dict[str, bytes]], classes: int, kind: str = "") -> Path:
    """As CLIP_benchmark writes it."""
    (folder / "test").mkdir(parents=True)
    (folder / "test" / "nshards.txt").write_text("1")
    (folder / "classnames.txt").write_text("".join(f"class {number}\n" for number in range(classes)))
    if kind:
        (folder / "dataset_type.txt").write_text(kind)
    with tarfile.open(folder / "test" / "0.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for key, fields in samples.items():
            for extension, content in fields.items():
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return folder


def labelled(count: int, classes: int, first: int = 0) -> dict[str, dict[str, bytes]]:
    return {f"s{i:03}": {"png": png(i), "cls": str(i % classes + first).encode()} for i in range(count)}


def offset_of(tar: Path, name: str) -> int:
    with tarfile.open(tar) as archive:
        return archive.getmember(name).offset


def test_a_tar_that_was_cut_between_two_members_is_not_measured_on(clip: Clip, tmp_path: Path) -> None:
    folder = folder_of_tars(tmp_path / "cut", labelled(30, 3), 3)
    tar = folder / "test" / "0.tar"
    whole = tar.read_bytes()
    assert evaluate(clip, folder).samples == 30
    tar.write_bytes(whole[: offset_of(tar, "s016.png")])
    with pytest.raises(DataError, match=r"lost samples.*0\.tar may be cut off after 16 samples.*truncate -s \+1024"):
        evaluate(clip, folder)
    result = evaluate(clip, open_source(folder))  # as training's validation has it: told, and gone on with
    assert result.samples == 16
    assert "may be cut off" in result.skipped[0]
    os.truncate(tar, tar.stat().st_size + 1024)  # as the message says
    assert evaluate(clip, folder).samples == 16


def test_a_tar_that_was_cut_inside_a_member_is_not_measured_on(clip: Clip, tmp_path: Path) -> None:
    folder = folder_of_tars(tmp_path / "cut", labelled(6, 3), 3)
    tar = folder / "test" / "0.tar"
    os.truncate(tar, offset_of(tar, "s004.png") + 530)
    with pytest.raises(DataError, match=r"lost samples.*damaged after 3 whole samples"):
        evaluate(clip, folder)


def test_what_follows_the_end_of_a_tar_is_not_passed_over(clip: Clip, tmp_path: Path) -> None:
    first, second = (
        folder_of_tars(tmp_path / name, labelled(2, 2), 2) / "test" / "0.tar" for name in ("first", "second")
    )
    first.write_bytes(first.read_bytes() + second.read_bytes())  # as cat does it
    with pytest.raises(DataError, match=r"bytes follow the end of the archive"):
        evaluate(clip, tmp_path / "first")


def test_a_tar_that_holds_fewer_samples_than_was_told_is_not_measured_on(clip: Clip, tmp_path: Path) -> None:
    folder = folder_of_tars(tmp_path / "fewer", labelled(30, 3), 3)
    (folder / "test" / "sizes.json").write_text(json.dumps({"0.tar": 31}))  # one of 31 is allowed to fail
    with pytest.raises(DataError, match=r"holds 30 whole samples, and sizes\.json or 0_stats\.json tells of 31"):
        evaluate(clip, folder)


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    for name in ("red", "green", "blue"):
        (tmp_path / "colours" / name).mkdir(parents=True)
        for i in range(30):
            Image.new("RGB", (16, 16), name).save(tmp_path / "colours" / name / f"{i}.png")
    return tmp_path / "colours"


def test_what_the_system_keeps_back_is_no_result_and_not_kept(
    clip: Clip, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that does not answer for one of ninety images."""
    plain = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == "7.png" and path.parent.name == "red":
            raise OSError(5, "Input/output error", str(path))
        return plain(path)

    def outcome() -> Outcome:
        (found,) = run([Model(str(tmp_path / "clip"))], [Data(str(colours))], ["zero-shot"], tmp_path / "out")
        return found

    clip.save(tmp_path / "clip")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read_bytes)
        first = outcome()
        assert first.result is None
        assert "1 of the 90 samples of colours cannot be read now" in str(first.problem)
        assert "7.png: Input/output error" in str(first.problem)
        assert evaluate(clip, open_source(colours)).samples == 89  # a Source is measured on as it is
    second = outcome()
    assert second.made
    assert second.result is not None
    assert (second.result.samples, second.result.skipped) == (90, ())


def test_what_is_missing_or_damaged_is_still_left_out(clip: Clip, colours: Path) -> None:
    (colours / "red" / "7.png").write_bytes(b"none")
    (colours / "red" / "8.png").unlink()
    (colours / "red" / "8.png").symlink_to("nowhere")
    result = evaluate(clip, colours)
    assert result.samples == 88
    assert len(result.skipped) == 2


def test_labels_from_one_on_are_no_unreadable_images(clip: Clip, tmp_path: Path) -> None:
    folder = folder_of_tars(tmp_path / "from one", labelled(40, 20, first=1), 20)
    with pytest.raises(DataError, match=r"go from 1 to 20, but there are 20 classes, .* are they numbered from 1"):
        open_splits(str(folder))
    with pytest.raises(UnknownClass, match=r"s019\.cls is 20, but there are 20 classes, from 0 on; are they numbered"):
        evaluate(clip, open_source(folder))


@pytest.mark.filterwarnings("ignore:some images could not be used")
def test_the_folder_says_whether_labels_are_several(clip: Clip, tmp_path: Path) -> None:
    samples = {f"s{i:03}": {"png": png(i), "npy": multi_hot(1, i % 2, 0)} for i in range(20)}
    del samples["s000"]["npy"]
    folder = folder_of_tars(tmp_path / "several", samples, 3, "multilabel")
    result = evaluate(clip, folder)
    assert (result.metric, result.samples) == ("map11", 19)
    assert result.skipped == ("s000 has no label, so its class is not known",)
    row = Row(name="several", title="Several", metric="map11", kind="multi-label")
    assert open_splits(str(folder), row).row == row
    (folder / "dataset_type.txt").unlink()
    with pytest.raises(DataError, match=r"no labels that are read, but Several is multi-label; .* dataset_type\.txt"):
        open_splits(str(folder), row)


class Mixed:
    """Images of one class, but for one that shows several."""

    name, class_names, templates = "mixed", ("red", "green"), None

    def __len__(self) -> int:
        return 4

    def read(self, i: int) -> Sample:
        return Sample(png(i), (), None, f"m{i}", labels=(0, 1)) if i == 2 else Sample(png(i), (), i % 2, f"m{i}")


def test_samples_that_do_not_agree_on_labels_are_named(clip: Clip) -> None:
    with pytest.raises(DataError, match="m2 of mixed has several labels, and the images are single label"):
        evaluate(clip, Splits(Mixed()))


def test_a_tar_elsewhere_that_was_cut_off_is_found_when_it_is_read(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = folder_of_tars(tmp_path / "there", labelled(30, 3), 3)
    whole = (folder / "test" / "0.tar").read_bytes()
    files = fsspec.filesystem("memory")
    for name in ("classnames.txt", "test/nshards.txt"):
        files.pipe(f"/cut/{name}", (folder / name).read_bytes())
    files.pipe("/cut/test/0.tar", whole[: offset_of(folder / "test" / "0.tar", "s016.png")])
    files.pipe("/cut/test/sizes.json", b'{"0.tar": 16}')
    for _ in range(2):  # nor is it taken for whole from what was kept
        data = open_splits("memory://cut", split="test")
        with pytest.raises(DataError, match=r"cut has lost samples.*memory://cut/test/0\.tar may be cut off after 16"):
            evaluate(clip, data, folder=tmp_path / "features")
    files.pipe("/cut/test/sizes.json", b'{"0.tar": 17}')
    with pytest.raises(DataError, match=r"holds 16 whole samples of the 17 it should|may be cut off after 16"):
        evaluate(clip, open_splits("memory://cut", split="test"), folder=tmp_path / "features")


def test_captions_beside_names_of_classes_need_no_labels(clip: Clip, tmp_path: Path) -> None:
    samples = {f"s{i}": {"png": png(i), "txt": f"image {i}".encode()} for i in range(4)}
    assert evaluate(clip, folder_of_tars(tmp_path / "captions", samples, 2), "retrieval").samples == 4
