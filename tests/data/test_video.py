"""The middle frame of videos that are encoded here, each frame of a grey that tells its number."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from diptych.data.published.layouts import open_layout
from diptych.data.published.videos import video_folders
from diptych.data.sources import read
from diptych.data.video import middle_frame
from diptych.errors import DataError, MissingExtra

STEP = 5  # of grey from one frame to the next
installed = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="PyAV (the extra video) is not installed")


def encode(path: Path, frames: int, codec: str = "mpeg4", **options: str) -> Path:
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            picture = np.full((48, 64, 3), number * STEP, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@installed
@pytest.mark.parametrize("frames", [2, 3, 10, 41])
@pytest.mark.parametrize(
    ("name", "codec"),
    [("x.avi", "mpeg4"), ("x.mp4", "libx264"), ("x.mkv", "libx264"), ("x.webm", "libvpx-vp9"), ("x.mpg", "mpeg1video")],
)
def test_the_middle_frame_is_exact(name, codec, frames, tmp_path):
    frame = middle_frame(encode(tmp_path / name, frames, codec))
    assert (frame.shape, frame.dtype) == ((48, 64, 3), np.uint8)
    assert abs(frame.mean() - (frames // 2) * STEP) < STEP / 2  # codecs lose some of a grey, not half a step


@installed
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("x.avi", "mpeg4", {}),
        ("x.mp4", "libx264", {}),
        ("x.mp4", "libx264", {"movflags": "faststart"}),  # what it says of its frames is there, the frames are not
        ("x.mkv", "libx264", {}),
        ("x.webm", "libvpx-vp9", {}),
    ],
)
@pytest.mark.parametrize("part", [0.3, 0.7, 0.97])
def test_a_file_that_is_cut_off_is_an_error(name, codec, options, part, tmp_path):
    path = encode(tmp_path / name, 30, codec, **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(DataError, match="cut off") as caught:
        middle_frame(path)
    assert str(path) in str(caught.value)


@installed
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"no video at all " * 100, "cannot be decoded"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1\nfile:///dev/null\n", "cannot be decoded"),  # a list of files
        (b"ffconcat version 1.0\nfile /dev/null\n", "cannot be decoded"),
        (b"RIFF\x10\0\0\0AVI LIST\0\0\0\0\0\0\0\0", "cannot be decoded"),
        (bytes.fromhex("1a45dfa3"), "cannot be decoded"),
        (b"\0\0\0\x10ftypisom\0\0\0\0", "cannot be decoded"),
    ],
)
def test_what_is_no_video_is_an_error(content, message, tmp_path):
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        middle_frame(path)
    assert str(path) in str(caught.value)


@installed
def test_sound_alone_one_frame_and_nothing(tmp_path):
    import av

    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(DataError, match="sound alone"):
        middle_frame(tmp_path / "sound.mp4")
    with pytest.raises(DataError, match="1 frame"):
        middle_frame(encode(tmp_path / "one.mp4", 1))
    with pytest.raises(DataError, match="no such file"):
        middle_frame(tmp_path / "nothing.mp4")
    with pytest.raises(DataError, match="no regular file"):
        middle_frame(tmp_path)


@installed
def test_class_folders_and_splits(tmp_path):
    encode(tmp_path / "val/tying_shoes/b.mp4", 4)
    encode(tmp_path / "val/abseiling/a.avi", 6)
    (tmp_path / "val/abseiling/broken.mp4").write_bytes(b"?")
    (tmp_path / "val/abseiling/notes.txt").write_text("no video")
    source = open_layout("video-folders", tmp_path, "val")
    assert source.class_names == ("abseiling", "tying shoes")
    assert len(source) == 3
    sample = read(source, 0)
    assert (sample.key, sample.label, sample.captions) == ("abseiling/a.avi", 0, ("abseiling",))
    assert abs(sample.image.mean() - 3 * STEP) < STEP / 2
    assert read(source, 2).label == 1
    with pytest.raises(DataError, match=r"broken\.mp4"):
        read(source, 1)
    with pytest.raises(DataError, match="no such folder"):
        open_layout("video-folders", tmp_path, "train")
    (tmp_path / "empty/none").mkdir(parents=True)
    with pytest.raises(DataError, match="lists no image"):
        video_folders(tmp_path / "empty")


@installed
def test_ucf101(tmp_path):
    encode(tmp_path / "UCF-101/YoYo/v_YoYo_g01_c01.avi", 4)
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 ApplyEyeMakeup\r\n2 YoYo\r\n")
    (lists / "testlist01.txt").write_text("YoYo/v_YoYo_g01_c01.avi\r\n")
    (lists / "trainlist01.txt").write_text("YoYo/v_YoYo_g01_c01.avi 2\n")
    for split in ("train", "test"):
        source = open_layout("ucf101", tmp_path, split)
        assert source.class_names == ("Apply Eye Makeup", "Yo Yo")
        assert read(source, 0).label == 1
    (lists / "testlist01.txt").write_text("Yoyo/v.avi\n")
    with pytest.raises(DataError, match="did you mean 'YoYo'"):
        open_layout("ucf101", tmp_path, "test")


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.mp4").write_bytes(b"?")
    with pytest.raises(MissingExtra, match=r"diptych\[video\]"):
        video_folders(tmp_path)
