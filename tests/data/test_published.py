"""Data sets in the forms in which they are published: small ones written here, damaged and hostile ones."""

import gzip
import json
import pickle
import shutil
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from making import jpeg
from PIL import Image
from scipy.io import loadmat, savemat

from diptych.data.published import layouts as published
from diptych.data.published.image_folders import COUNTRIES
from diptych.data.published.layouts import LAYOUTS, found, open_layout
from diptych.data.published.mat_file import read_mat
from diptych.data.sources import labels_of, read
from diptych.errors import DataError
from diptych.evaluation.datasets import find
from diptych.evaluation.opening import open_dataset
from diptych.text import class_names

RNG = np.random.default_rng(0)


def python2(value: object) -> bytes:
    """What Python 2's cPickle writes of it in protocol 2: text as bytes, arrays by their three names."""
    match value:
        case np.ndarray():
            shape = b"(" + b"".join(b"J" + struct.pack("<i", size) for size in value.shape) + b"t"
            begin = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + shape
            kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
            data = value.tobytes()
            return begin + kind + b"T" + struct.pack("<i", len(data)) + data + b"tb"
        case dict():
            return b"}(" + b"".join(python2(key) + python2(item) for key, item in value.items()) + b"u"
        case list():
            return b"](" + b"".join(map(python2, value)) + b"e"
        case int():
            return b"J" + struct.pack("<i", value)
        case str():
            return b"U" + bytes([len(value)]) + value.encode()
    raise AssertionError(value)


def pickled(path: Path, value: object) -> None:
    path.write_bytes(b"\x80\x02" + python2(value) + b".")


def pixels(count: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, 3072), np.uint8)


@pytest.fixture
def cifar10(tmp_path):
    pickled(tmp_path / "batches.meta", {"label_names": ["cat", "big_dog"], "num_vis": 3072})
    rows = pixels(12)
    for batch in range(5):
        part = rows[2 * batch : 2 * batch + 2]
        pickled(tmp_path / f"data_batch_{batch + 1}", {"batch_label": "training", "labels": [0, 1], "data": part})
    pickled(tmp_path / "test_batch", {"labels": [1, 0], "data": rows[10:], "filenames": ["a.png", "b.png"]})
    return tmp_path, rows


def test_cifar10_as_pickles(cifar10):
    folder, rows = cifar10
    source = open_layout("cifar10-python", folder, "test")
    assert source.class_names == ("cat", "big dog")
    assert [read(source, i).label for i in range(len(source))] == [1, 0]
    sample = read(source, 0)
    assert sample.key == "test_batch 0"
    assert sample.captions == ("big dog",)
    assert (sample.image == rows[10].reshape(3, 32, 32).transpose(1, 2, 0)).all()
    train = open_layout("cifar10-python", folder, "train")
    assert len(train) == 10
    assert (read(train, 9).image == rows[9].reshape(3, 32, 32).transpose(1, 2, 0)).all()


def test_cifar100_as_pickles_and_binary(tmp_path):
    rows = pixels(2)
    names = ["apple", "aquarium_fish"]
    for part in ("python", "binary"):
        (tmp_path / part).mkdir()
    pickled(tmp_path / "python/meta", {"fine_label_names": names, "coarse_label_names": ["x"]})
    pickled(tmp_path / "python/test", {"fine_labels": [1, 0], "coarse_labels": [0, 0], "data": rows})
    (tmp_path / "binary/fine_label_names.txt").write_text("\n".join(names) + "\n\n")
    (tmp_path / "binary/test.bin").write_bytes(b"\0\1" + rows[0].tobytes() + b"\0\0" + rows[1].tobytes())
    one, other = (open_layout(f"cifar100-{part}", tmp_path / part, "test") for part in ("python", "binary"))
    assert one.class_names == other.class_names == ("apple", "aquarium fish")
    for i in range(2):
        assert (read(one, i).image == read(other, i).image).all()
        assert read(one, i).label == read(other, i).label == 1 - i


def test_cifar10_binary_of_five_batches(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("cat\ndog\n")
    for batch in range(5):
        (folder / f"data_batch_{batch + 1}.bin").write_bytes(bytes([batch % 2]) + bytes([batch]) * 3072)
    source = open_layout("cifar10-binary", tmp_path, "train")  # found one folder down
    assert [(read(source, i).label, read(source, i).image[0, 0, 0]) for i in range(5)] == [(i % 2, i) for i in range(5)]
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_3.bin: no such file"):
        open_layout("cifar10-binary", tmp_path, "train")


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no pickle"),
        (b"\x80\x02}q\x01", "no pickle"),  # cut off
        (b"\x80\x02cos\nsystem\nU\x04true\x85R.", "asks to load os.system"),
        (b"\x80\x02cnumpy\nload\nU\x04true\x85R.", "asks to load numpy.load"),
        (b"\x80\x02X\x01\x00\x00\x00aQ.", "outside of itself"),  # a persistent id
        (b"\x80\x02\x82\x01.", "no pickle"),  # an extension's code
        (b"\x80\x02}.", "has no 'data'"),
        (b"\x80\x02](K\x01e.", "has no 'data'; it has list"),
        (b"\x80\x02}U\x04dataK\x07s.", "something else where there should be an array"),
        (b"\x80\x02" + python2({"data": pixels(2), "labels": [0]}) + b".", "'labels' are not 2 numbers"),
        (b"\x80\x02" + python2({"data": pixels(1), "labels": ["a"]}) + b".", "'labels' are not 1 numbers"),
        (b"\x80\x02" + python2({"data": pixels(1), "labels": [-1]}) + b".", "'labels' are not 1 numbers"),
        (b"\x80\x02" + python2({"data": pixels(1)[:, 1:], "labels": [0]}) + b".", "not rows of 3,072"),
        (
            (b"\x80\x02" + python2({"data": pixels(1), "labels": [0]}) + b".").replace(
                struct.pack("<i", 3072) + b"t", struct.pack("<i", 2**31 - 1) + b"t"
            ),
            "2147483647.* of bytes, but 3,072 are there",
        ),
        ((b"\x80\x02" + python2({"data": pixels(1), "labels": [0]}) + b".").replace(b"U\x02u1", b"U\x02O8"), "u1"),
        # Tuples of two of the one before, forty deep: to hash or print such a key would take for ever.
        (
            b"\x80\x02}))\x86" + b"".join(b"q%cq%ch%c\x86" % (i, i, i) for i in range(40)) + b"K\x01s.",
            "str or int expected",
        ),
        (gzip.compress(b"hello", mtime=0), "no pickle"),
    ],
)
def test_pickles_that_are_none_of_cifars_end_in_an_error_and_run_nothing(cifar10, content, message):
    folder, _ = cifar10
    (folder / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        open_layout("cifar10-python", folder, "test")
    assert "test_batch" in str(caught.value)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_something_does_not(cifar10, tmp_path, protocol):
    folder, _ = cifar10
    (folder / "test_batch").write_bytes(pickle.dumps({"data": Hostile(tmp_path / "ran")}, protocol))
    with pytest.raises(DataError, match="test_batch"):
        open_layout("cifar10-python", folder, "test")
    assert not (tmp_path / "ran").exists()


def idx(path: Path, array: np.ndarray) -> None:
    content = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", size) for size in array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize(("suffix", "dot"), [("", "-"), (".gz", "-"), ("", ".")])
def test_mnist(tmp_path, suffix, dot):
    digits = RNG.integers(0, 256, (3, 28, 28), np.uint8)
    (tmp_path / "MNIST/raw").mkdir(parents=True)
    idx(tmp_path / f"MNIST/raw/t10k-images{dot}idx3-ubyte{suffix}", digits)
    idx(tmp_path / f"MNIST/raw/t10k-labels{dot}idx1-ubyte{suffix}", np.array([7, 2, 1], np.uint8))
    source = open_layout("idx", tmp_path, "test")
    assert source.class_names is None
    sample = read(source, 1)
    assert (sample.label, sample.image.shape) == (2, (28, 28, 3))
    assert (sample.image == digits[1][..., None]).all()
    with pytest.raises(DataError, match="train-images"):
        open_layout("idx", tmp_path, "train")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], r"is to hold 3 x 28 x 28 bytes, but 2,351 follow"),
        (lambda data: data[:9], "has 9 bytes, fewer than the 16 of its header"),
        (lambda data: b"", "has 0 bytes"),
        (lambda data: b"\0\0\x0d\3" + data[4:], "begins with 00 00 0d 03"),
        (lambda data: data[:4] + b"\xff" * 12 + data[16:], "4,294,967,295 x"),
        (lambda data: data + b"\0", "2,353 follow"),
    ],
)
def test_damaged_idx_files(tmp_path, damage, message):
    file = tmp_path / "t10k-images-idx3-ubyte"
    idx(file, np.zeros((3, 28, 28), np.uint8))
    idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(3, np.uint8))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        open_layout("idx", tmp_path, "test")
    assert str(file) in str(caught.value)


def test_damaged_idx_archives_and_other_labels(tmp_path):
    file = tmp_path / "t10k-images-idx3-ubyte.gz"
    idx(file, np.zeros((3, 28, 28), np.uint8))
    idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(2, np.uint8))
    with pytest.raises(DataError, match="3 images, but 2 labels"):
        open_layout("idx", tmp_path, "test")
    whole = file.read_bytes()
    file.write_bytes(whole[:-4])
    with pytest.raises(DataError, match="cut off: the checksum"):
        open_layout("idx", tmp_path, "test")
    file.write_bytes(whole[:25])
    with pytest.raises(DataError, match=r"is to hold 3 x 28 x 28 bytes, but .* follow|more than 25 bytes"):
        open_layout("idx", tmp_path, "test")
    file.write_bytes(b"not gzip")
    with pytest.raises(DataError, match="no gzip file"):
        open_layout("idx", tmp_path, "test")


def test_what_a_packed_header_promises_is_checked_before_it_is_unpacked(tmp_path):
    file = tmp_path / "t10k-images-idx3-ubyte.gz"
    idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(2, np.uint8))
    header = bytes([0, 0, 8, 3]) + struct.pack(">III", 10**6, 28, 28)
    file.write_bytes(gzip.compress(header + bytes(1000)))
    with pytest.raises(DataError, match=r"1,000,000 x 28 x 28 bytes, more than .* bytes of gzip can unpack to"):
        open_layout("idx", tmp_path, "test")
    file.write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">III", 2, 28, 28) + bytes(50_000_000)))
    tracemalloc.start()
    with pytest.raises(DataError, match="but 1,569 follow"):  # one more than promised is all that is unpacked
        open_layout("idx", tmp_path, "test")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_stl10(tmp_path):
    images = RNG.integers(0, 256, (2, 96, 96, 3), np.uint8)
    (tmp_path / "test_X.bin").write_bytes(images.transpose(0, 3, 2, 1).tobytes())
    (tmp_path / "test_y.bin").write_bytes(bytes([2, 1]))
    (tmp_path / "class_names.txt").write_text("airplane\nbird\n")
    source = open_layout("stl10-binary", tmp_path, "test")
    assert [read(source, i).captions for i in range(2)] == [("bird",), ("airplane",)]
    assert (read(source, 1).image == images[1]).all()
    (tmp_path / "test_y.bin").write_bytes(bytes([0, 1]))
    with pytest.raises(DataError, match="from 1"):
        open_layout("stl10-binary", tmp_path, "test")
    (tmp_path / "test_X.bin").write_bytes(images.tobytes()[:-1])
    with pytest.raises(DataError, match=r"1 images of 27,648 bytes and 27,647 more"):
        open_layout("stl10-binary", tmp_path, "test")


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg(1) if name.endswith(("jpg", "JPEG", "png", "ppm")) else text.encode())
    return folder


def kitti_object(what: str, metres: object) -> str:
    return f"{what} 0.00 0 -1.57 599.41 156.40 629.75 189.25 2.85 2.63 12.34 0.47 1.49 {metres} -1.56\n"


LISTED = {
    "food101": (
        {
            "meta/classes.txt": "apple_pie\nwaffles\n",
            "meta/test.txt": "waffles/7\napple_pie/3\n",
            "images/waffles/7.jpg": "",
            "images/apple_pie/3.jpg": "",
        },
        ["waffles/7.jpg", "apple_pie/3.jpg"],
        [1, 0],
        ("apple pie", "waffles"),
    ),
    "dtd": (
        {
            "labels/test1.txt": "banded/banded_2.jpg\nzigzagged/z.jpg\n",
            "images/banded/banded_2.jpg": "",
            "images/zigzagged/z.jpg": "",
        },
        ["banded/banded_2.jpg", "zigzagged/z.jpg"],
        [0, 1],
        ("banded", "zigzagged"),
    ),
    "sun397": (
        {
            "Partitions/ClassName.txt": "/a/abbey\n/a/apse/indoor\n",
            "Partitions/Testing_01.txt": "/a/apse/indoor/sun_1.jpg\n/a/abbey/sun_2.jpg\n",
            "a/apse/indoor/sun_1.jpg": "",
            "a/abbey/sun_2.jpg": "",
        },
        ["a/apse/indoor/sun_1.jpg", "a/abbey/sun_2.jpg"],
        [1, 0],
        ("abbey", "apse indoor"),
    ),
    "pets": (
        {
            "annotations/test.txt": "#Image CLASS-ID SPECIES\nAbyssinian_1 1 1 1\nBritish_Shorthair_10 2 1 5\n",
            "images/Abyssinian_1.jpg": "",
            "images/British_Shorthair_10.jpg": "",
        },
        ["Abyssinian_1.jpg", "British_Shorthair_10.jpg"],
        [0, 1],
        ("Abyssinian", "British Shorthair"),
    ),
    "aircraft": (
        {
            "data/variants.txt": "707-320\nFalcon 900\n",
            "data/images_variant_test.txt": "0034309 Falcon 900\n0034958 707-320\n",
            "data/images/0034309.jpg": "",
            "data/images/0034958.jpg": "",
        },
        ["0034309.jpg", "0034958.jpg"],
        [1, 0],
        ("707-320", "Falcon 900"),
    ),
    "birdsnap": (
        {
            "species.txt": "id\tcommon\tdir\n1\tBlue Jay\tBlue_Jay\n2\tMallard\tMallard\n",
            "images.txt": "url\tpath\tspecies_id\nu\tMallard/1.jpg\t2\nu\tBlue_Jay/2.jpg\t1\nu\tBlue_Jay/3.jpg\t1\n",
            "test_images.txt": "path\nMallard/1.jpg\nBlue_Jay/2.jpg\n",
            "download/images/Mallard/1.jpg": "",
            "download/images/Blue_Jay/2.jpg": "",
        },
        ["Mallard/1.jpg", "Blue_Jay/2.jpg"],
        [1, 0],
        ("Blue Jay", "Mallard"),
    ),
    "kitti": (
        {
            # The video that is drawn of three is the first by name.
            "mapping/train_mapping.txt": "d drive_c 7\nd drive_a 1\nd drive_b 3\nd drive_a 2\n",
            "mapping/train_rand.txt": "1,4,3,2\n",
            "training/label_2/000001.txt": "".join(
                kitti_object(what, metres) for what, metres in (("DontCare", -1000), ("Car", 20.01), ("Tram", 4.5))
            ),
            "training/label_2/000003.txt": kitti_object("Van", 8.0),
            "training/label_2/000000.txt": "",
            "training/label_2/000002.txt": "",
            "training/image_2/000001.png": "",
            "training/image_2/000003.png": "",
        },
        ["000001.png", "000003.png"],
        [2, 0],
        None,
    ),
    "gtsrb": (
        {
            "GT-final_test.csv": "Filename;Width;Height;ClassId\n00000.ppm;53;54;16\n00001.ppm;42;45;1\n",
            "Final_Test/Images/00000.ppm": "",
            "Final_Test/Images/00001.ppm": "",
        },
        ["00000.ppm", "00001.ppm"],
        [16, 1],
        None,
    ),
    "hateful-memes": (
        {
            "test.jsonl": '{"id": 1, "img": "img/1.png", "label": 1, "text": "x"}\n{"img": "img/2.png", "label": 0}\n',
            "dev.jsonl": "",
            "img/1.png": "",
            "img/2.png": "",
        },
        ["img/1.png", "img/2.png"],
        [1, 0],
        None,
    ),
    "synsets": (
        {
            "LOC_synset_mapping.txt": "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n",
            "val/n01440764/a.JPEG": "",
            "val/n01443537/b.JPEG": "",
        },
        ["n01440764/a.JPEG", "n01443537/b.JPEG"],
        [0, 1],
        ("tench", "goldfish"),
    ),
    "country-codes": (
        {"test/AD/1.jpg": "", "test/AE/2.jpg": ""},
        ["AD/1.jpg", "AE/2.jpg"],
        [0, 1],
        None,
    ),
    "numbered-folders": (
        {"0/a.jpg": "", "10/c.jpg": "", "2/b.jpg": ""},
        ["0/a.jpg", "10/c.jpg", "2/b.jpg"],
        [0, 10, 2],
        None,
    ),
}


@pytest.mark.parametrize("layout", LISTED)
def test_listed_images(layout, tmp_path):
    files, names, labels, classes = LISTED[layout]
    folder = write(tmp_path / "deep" / "er", files)
    assert found(layout, folder) is not None
    source = open_layout(layout, tmp_path / "deep", "test")  # as an archive in it is unpacked
    samples = [read(source, i) for i in range(len(source))]
    assert [sample.key for sample in samples] == names
    assert [sample.label for sample in samples] == labels
    assert [labels_of(source, i) for i in range(len(source))] == [(label,) for label in labels]
    assert all(sample.image.is_file() for sample in samples)
    assert source.class_names == classes
    if classes:
        assert [sample.captions for sample in samples] == [(classes[label],) for label in labels]
    assert len(list(source.listing())) > len(samples)


@pytest.mark.parametrize("layout", LISTED)
def test_no_layout_is_taken_for_another(layout, tmp_path):
    files, *_ = LISTED[layout]
    folder = write(tmp_path / "data", files)
    assert [name for name in LAYOUTS if found(name, folder) is not None] == [layout]


@pytest.mark.parametrize(
    ("layout", "file", "content", "message"),
    [
        ("food101", "meta/test.txt", "", "is empty"),
        ("food101", "meta/test.txt", None, "no such file"),
        ("food101", "meta/test.txt", "wafles/7\n", r"line 1: there is no class 'wafles'; did you mean 'waffles'"),
        ("food101", "meta/test.txt", "waffles/../../../etc/x\n", "no class"),
        ("dtd", "labels/test1.txt", "../x/y.jpg\n", "leads out of it"),
        ("dtd", "labels/test1.txt", b"\xff\xfe", "not UTF-8"),
        ("sun397", "Partitions/ClassName.txt", "/a/abbey\n", "no class 'a/apse/indoor'"),
        ("pets", "annotations/test.txt", "Abyssinian_1\n", "line 1: .* has 1 fields"),
        ("pets", "annotations/test.txt", "Abyssinian_1 one 1 1\n", "'one' is not the number"),
        (
            "pets",
            "annotations/test.txt",
            "Abyssinian_1 1\nBeagle_1 1\n",
            "class 1 is Beagle here and Abyssinian before",
        ),
        ("pets", "annotations/test.txt", "Abyssinian_1 1\nBeagle_1 3\n", "none with the number 2"),
        ("pets", "annotations/test.txt", "Abyssinian_1 1\nBeagle100 2\n", "line 2: 'Beagle100' is not called by its"),
        ("aircraft", "data/images_variant_test.txt", "0034309 Falcon 90\n", "did you mean 'Falcon 900'"),
        ("gtsrb", "GT-final_test.csv", "Filename;Width\n0.ppm;3\n", "no 'ClassId'"),
        ("hateful-memes", "test.jsonl", '{"img": "img/1.png"}\n', "has no label"),
        ("hateful-memes", "test.jsonl", '{"img": "img/1.png", "label": 2}\n', "not 0 or 1"),
        ("hateful-memes", "test.jsonl", '{"img": "img/1.png", "lab', "line 1 is no object"),
        ("hateful-memes", "test.jsonl", '{"img": "/etc/passwd", "label": 1}\n', "leads out of it"),
        ("synsets", "LOC_synset_mapping.txt", "n01440764 tench\n", "does not name the synset n01443537"),
        ("synsets", "classnames.txt", "tench\n", "has 1 lines for 2 folders of synsets"),
        ("country-codes", "test/AA/a.jpg", "", "folder 'AA' among those .* the code of a country, AD to ZW"),
        ("numbered-folders", "x/a.jpg", "", "folder 'x' among those"),
    ],
)
def test_damaged_lists(layout, file, content, message, tmp_path):
    folder = write(tmp_path, LISTED[layout][0])
    (folder / file).parent.mkdir(exist_ok=True)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as caught:
        open_layout(layout, folder, "test")
    assert str(folder) in str(caught.value)


def test_a_split_or_a_layout_that_is_not_there(tmp_path):
    folder = write(tmp_path, LISTED["dtd"][0])
    with pytest.raises(DataError, match="no split 'tests'; did you mean 'test'"):
        open_layout("dtd", folder, "tests")
    with pytest.raises(DataError, match=r"has none of meta/classes\.txt"):
        open_layout("food101", folder, "test")


def test_synsets_are_named_by_what_lies_beside_them(tmp_path):
    folder = write(tmp_path, {"n01440764/a.JPEG": "", "n01443537/b.JPEG": "", "README.txt": ""})
    assert open_layout("synsets", folder, "test").class_names is None
    (folder / "README.txt").write_text("The classes:\n\nn01443537 goldfish\nn01440764\ttench\n")
    assert open_layout("synsets", folder, "test").class_names == ("tench", "goldfish")
    (folder / "classnames.txt").write_text("a fish\na golden fish\n")
    assert open_layout("synsets", folder, "test").class_names == ("a fish", "a golden fish")


def test_a_synset_that_a_split_lacks_moves_no_other_one(tmp_path):
    tops = ("n01440764", "n01443537", "n01484850")
    files = {f"{split}/{top}/a.JPEG": "" for split in ("train", "val") for top in tops}
    folder = write(tmp_path, files | {"classnames.txt": "tench\ngoldfish\nshark\n"})
    for split, lost in (("train", tops[0]), ("val", tops[1])):
        shutil.rmtree(folder / split / lost)
        source = open_layout("synsets", folder, split)
        assert source.class_names == ("tench", "goldfish", "shark")
        assert source.class_ids == tops
        there = [tops.index(top) for top in tops if top != lost]
        assert [read(source, i).label for i in range(len(source))] == there


def test_a_country_that_a_split_lacks_moves_no_other_one(tmp_path):
    assert list(COUNTRIES) == sorted(set(COUNTRIES))
    names = class_names.packaged("country211")
    files = {f"test/{code}/1.jpg": "" for code in COUNTRIES if code not in ("AE", "UG")}
    source = open_dataset(find("country211"), write(tmp_path, files), "test")
    told = {read(source, i).key[:2]: (read(source, i).label, read(source, i).captions[0]) for i in range(len(source))}
    assert len(told) == 209
    assert all(told[code] == (COUNTRIES.index(code), names[COUNTRIES.index(code)][0]) for code in told)
    known = {"AD": "Andorra", "DE": "Germany", "JP": "Japan", "US": "United States", "XK": "Kosovo", "ZW": "Zimbabwe"}
    assert {code: told[code][1] for code in known} == known


def test_gtsrb_training_images_and_country_codes_have_numbers(tmp_path):
    folder = write(tmp_path, {"Final_Training/Images/00002/1.ppm": "", "Final_Training/Images/00000/1.ppm": ""})
    source = open_layout("gtsrb", folder, "train")
    assert [read(source, i).label for i in range(2)] == [0, 2]
    with pytest.raises(DataError, match="no such file"):
        open_layout("gtsrb", folder, "test")


def test_voc_2007(tmp_path):
    lists = {
        "cat_test.txt": "000001  1\n000002 -1\n000004  0\n",
        "dog_test.txt": "000001 -1\n000002 -1\n000004  1\n",
        "cat_trainval.txt": "000009 1\n",
    }
    files = {f"VOCdevkit/VOC2007/ImageSets/Main/{name}": text for name, text in lists.items()}
    folder = write(tmp_path, {**files, "VOCdevkit/VOC2007/JPEGImages/000001.jpg": ""})
    source = open_layout("voc2007", folder, "test")
    assert source.class_names == ("cat", "dog")
    samples = [read(source, i) for i in range(3)]
    assert [(sample.label, sample.labels, sample.unjudged) for sample in samples] == [
        (None, (0,), ()),
        (None, (), ()),
        (None, (1,), (0,)),
    ]
    assert samples[0].image.is_file()
    file = folder / "VOCdevkit/VOC2007/ImageSets/Main/dog_test.txt"
    for content, message in (("000001 2\n", "none of 1, 0 and -1"), ("000001 1\n000003 1\n", "lists 2 images")):
        file.write_text(content)
        with pytest.raises(DataError, match=message):
            open_layout("voc2007", folder, "test")
    with pytest.raises(DataError, match="no lists of the split 'val'"):
        open_layout("voc2007", folder, "val")


def test_fer2013(tmp_path):
    faces = RNG.integers(0, 256, (3, 48, 48), np.uint8)
    rows = [
        f"{label},{' '.join(map(str, face.ravel()))},{usage}"
        for label, face, usage in zip((0, 6, 3), faces, ("Training", "PrivateTest", "PrivateTest"), strict=True)
    ]
    file = tmp_path / "fer2013.csv"
    file.write_text("emotion,pixels,Usage\n" + "\n".join(rows) + "\n")
    source = open_layout("fer2013-csv", tmp_path, "test")
    assert [read(source, i).label for i in range(2)] == [6, 3]
    assert (read(source, 0).image == faces[1][..., None]).all()
    for text, message in (
        ("emotion,pixels\n0,1 2\n", "no column 'Usage'"),
        ("emotion,pixels,Usage\n0,1 2,PrivateTest\n", "line 2: its 2 pixels are not 2304"),
        ("emotion,pixels,Usage\n0,1 -2,PrivateTest\n", "no row of numbers"),
        ("emotion,pixels,Usage\n" + rows[1].replace("6,", "7,", 1) + "\n", "its emotion is '7'"),
        ("emotion,pixels,Usage\n" + rows[0] + "\n", "no line whose Usage is 'PrivateTest'"),
        ("emotion,pixels,Usage\n" + rows[0] + "\n6,1 2 3", "line 3 has too few columns"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=message):
            open_layout("fer2013-csv", tmp_path, "test")


def mat(path: Path, packed: bool = False, **entries) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, entries, do_compression=packed)


def test_matlab_files_hold_what_scipy_reads_of_them(tmp_path):
    entries = {
        **{kind: np.arange(6).astype(kind).reshape(2, 3) - (kind[0] != "u") for kind in KINDS_OF_NUMBERS},
        "fraction": np.array([[1.5, -0.25]]),
        "no_numbers": np.zeros((0, 3)),
        "text": "Škoda Octavia",
        "cells": np.array([["one", np.array([[1, 2]]), np.array([["two"]], object)]], object),
        "table": np.array([[(3, "x.jpg"), (4, "")]], [("class", "O"), ("fname", "O")]),
        "wave": np.array([[1j]]),
    }
    for packed in (False, True):
        mat(tmp_path / "x.mat", packed, **entries)
        content = (tmp_path / "x.mat").read_bytes()
        found, scipys = read_mat(content), loadmat(tmp_path / "x.mat")
        for name in (*KINDS_OF_NUMBERS, "fraction", "no_numbers"):
            assert found[name] == scipys[name].ravel(order="F").tolist()
        assert found["text"] == scipys["text"].item() == "Škoda Octavia"
        assert found["cells"] == ["one", [1, 2], ["two"]]
        assert found["table"] == [{"class": [3], "fname": "x.jpg"}, {"class": [4], "fname": ""}]
        assert found["wave"] is None
    other = struct.pack(">HH", 0x0100, 0x4D49) + struct.pack(">II", 14, 48)  # as other processors have it
    other += struct.pack(">IIIIIIii", 6, 8, 12, 0, 5, 8, 1, 2) + struct.pack(">HHssxx", 1, 1, b"a", b"\0")
    other += struct.pack(">HHhh", 4, 3, -2, 300)
    assert read_mat(bytes(124) + other) == {"a": [-2, 300]}


KINDS_OF_NUMBERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")


def test_flowers(tmp_path):
    mat(tmp_path / "imagelabels.mat", labels=np.array([[77, 1, 2]], np.uint8))
    mat(tmp_path / "setid.mat", trnid=np.array([[2]], np.uint16), tstid=np.array([[3, 1]], np.uint16))
    source = open_layout("flowers", write(tmp_path, {"jpg/image_00001.jpg": ""}), "test")
    assert [(read(source, i).key, read(source, i).label) for i in range(2)] == [
        ("image_00003.jpg", 1),
        ("image_00001.jpg", 76),
    ]
    assert read(source, 1).image.is_file()
    assert read(open_layout("flowers", tmp_path, "train"), 0).label == 0  # of a single image
    with pytest.raises(DataError, match=r"setid\.mat has no 'valid'; it has 'trnid', 'tstid'"):
        open_layout("flowers", tmp_path, "val")
    mat(tmp_path / "setid.mat", tstid=np.array([[4]]))
    with pytest.raises(DataError, match="names image 4 of 3"):
        open_layout("flowers", tmp_path, "test")
    mat(tmp_path / "setid.mat", tstid=np.array([[1.5]]))
    with pytest.raises(DataError, match="no whole numbers"):
        open_layout("flowers", tmp_path, "test")
    whole = (tmp_path / "imagelabels.mat").read_bytes()
    for content in (b"", b"MATLAB", whole[:150], whole[:-3], bytes(200)):
        (tmp_path / "imagelabels.mat").write_bytes(content)
        with pytest.raises(DataError, match=r"imagelabels\.mat (is no MATLAB file|has no 'labels')"):
            open_layout("flowers", tmp_path, "test")


def test_cars(tmp_path):
    rows = [{"class": 2, "fname": "00001.jpg", "bbox_x1": 3}, {"class": 1, "fname": "00002.jpg", "bbox_x1": 4}]
    table = np.array([[tuple(row.values()) for row in rows]], [("class", "O"), ("fname", "O"), ("bbox_x1", "O")])
    mat(tmp_path / "devkit/cars_train_annos.mat", annotations=table)
    mat(tmp_path / "devkit/cars_meta.mat", class_names=np.array([["AM General Hummer", "Acura RL"]], object))
    source = open_layout("cars", write(tmp_path, {"cars_train/00001.jpg": ""}), "train")
    assert source.class_names == ("AM General Hummer", "Acura RL")
    assert [(read(source, i).key, read(source, i).label) for i in range(2)] == [("00001.jpg", 1), ("00002.jpg", 0)]
    assert read(source, 0).image.is_file()
    with pytest.raises(DataError, match=r"cars_test_annos_withlabels\.mat: no such file"):
        open_layout("cars", tmp_path, "test")
    mat(tmp_path / "devkit/cars_train_annos.mat", annotations=np.array([[1, 2]]))
    with pytest.raises(DataError, match="annotation 1 has no 'fname'"):
        open_layout("cars", tmp_path, "train")


def test_kitti_by_how_far_away_the_closest_vehicle_is(tmp_path):
    objects = [
        kitti_object("Truck", 20.0) + kitti_object("Car", 45),
        kitti_object("Pedestrian", 3) + kitti_object("Cyclist", 2),
        kitti_object("Car", 7.9) + kitti_object("Van", 30),
        "",
        kitti_object("Van", 20.1),
        kitti_object("Car", -0.5),
    ]
    for i, lines in enumerate(objects):
        write(tmp_path, {f"training/label_2/{i:06}.txt": lines, f"training/image_2/{i:06}.png": ""})
    drives = [f"2011_09_26 drive_{i:02} {i}" for i in (*range(20), 19, 18)]
    kit = {"train_mapping.txt": "\n".join(drives), "train_rand.txt": "20, 21, 19, 22, 1, 2"}
    write(tmp_path / "devkit_object/mapping", kit)
    found = {}
    for split in ("train", "val", "test"):
        source = open_layout("kitti", tmp_path, split)
        assert read(source, 0).image.is_file()
        found |= {read(source, i).key: (split, read(source, i).label) for i in range(len(source))}
    # The fourth of four videos by name is drawn first, then the second: so it is with TensorFlow Datasets' generator.
    assert [found[f"{i:06}.png"] for i in range(6)] == [
        ("test", 1), ("test", 3), ("train", 0), ("train", 3), ("train", 2), ("val", 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("mapping/train_rand.txt", "1, 5", r"train_rand\.txt: '5' is no line of train_mapping\.txt, which has 4"),
        ("mapping/train_rand.txt", "1, 2", r"train_rand\.txt is of 2 images, but .*label_2 is of 4"),
        ("mapping/train_rand.txt", "1, 2, 2, 1", r"train_rand\.txt has images of 2 videos, which make no three splits"),
        ("mapping/train_mapping.txt", "d", r"train_mapping\.txt, line 1: 'd' has 1 fields, not 2"),
        ("training/label_2/000001.txt", "Car 1 2\n", r"000001\.txt, line 1: 'Car 1 2' has 3 fields, not 15"),
        ("training/label_2/000003.txt", kitti_object("Car", "nan"), r"000003\.txt, line 1: 'nan' is no distance"),
    ],
)
def test_kitti_with_a_fault(file, text, message, tmp_path):
    write(tmp_path, LISTED["kitti"][0] | {file: text})
    with pytest.raises(DataError, match=message):
        open_layout("kitti", tmp_path, "test")


def test_kitti_without_its_development_kit(tmp_path):
    write(tmp_path, {"training/label_2/000000.txt": kitti_object("Car", 1.0)})
    with pytest.raises(DataError, match=r"no mapping/train_rand\.txt, here or in .* \(devkit_object\.zip\)"):
        open_layout("kitti", tmp_path, "test")


def test_birdsnaps_photographs_that_could_not_be_fetched_are_left_out(tmp_path, capsys):
    write(tmp_path, LISTED["birdsnap"][0])
    with pytest.raises(DataError, match="lists no image"):
        open_layout("birdsnap", tmp_path, "train")  # its only image is not there
    capsys.readouterr()
    (tmp_path / "download/images/Mallard/1.jpg").unlink()
    source = open_layout("birdsnap", tmp_path, "test")
    assert [read(source, i).key for i in range(len(source))] == ["Blue_Jay/2.jpg"]
    assert "1 of the 2 images that" in capsys.readouterr().err
    (tmp_path / "species.txt").write_text("id\tcommon\n1\tBlue Jay\n3\tMallard\n")
    with pytest.raises(DataError, match=r"species\.txt does not number its 2 species from 1"):
        open_layout("birdsnap", tmp_path, "test")
    (tmp_path / "species.txt").write_text("id\tcommon\n1\tBlue Jay\n")
    with pytest.raises(DataError, match=r"images\.txt, line 2: there is no species 2"):
        open_layout("birdsnap", tmp_path, "test")
    (tmp_path / "images.txt").write_text("url\tpath\nu\tMallard/1.jpg\n")
    with pytest.raises(DataError, match="has no column 'species_id'; it has url, path"):
        open_layout("birdsnap", tmp_path, "test")


def test_clevr_counts_what_is_in_a_scene(tmp_path):
    scenes = [{"image_filename": f"CLEVR_val_00000{i}.png", "objects": [{}] * count} for i, count in enumerate((10, 3))]
    file = tmp_path / "CLEVR_v1.0/scenes/CLEVR_val_scenes.json"
    write(tmp_path, {"CLEVR_v1.0/scenes/CLEVR_val_scenes.json": json.dumps({"scenes": scenes})})
    write(tmp_path, {f"CLEVR_v1.0/images/val/CLEVR_val_00000{i}.png": "" for i in range(2)})
    source = open_layout("clevr-scenes", tmp_path, "test")
    assert [(read(source, i).key, read(source, i).label) for i in range(2)] == [
        ("CLEVR_val_000000.png", 7),
        ("CLEVR_val_000001.png", 0),
    ]
    assert read(source, 0).image.is_file()
    with pytest.raises(DataError, match=r"CLEVR_train_scenes\.json: no such file"):
        open_layout("clevr-scenes", tmp_path, "train")
    for scene, message in (
        ({"image_filename": "x.png", "objects": [{}] * 2}, "scene 0 has 2 objects, not 3 to 10"),
        ({"image_filename": "x.png"}, "does not list scenes: KeyError"),
        ({"image_filename": "../x.png", "objects": [{}] * 3}, "leads out of it"),
    ):
        file.write_text(json.dumps({"scenes": [scene]}))
        with pytest.raises(DataError, match=message):
            open_layout("clevr-scenes", tmp_path, "test")


def test_captions_by_karpathys_splits(tmp_path):
    images = [
        {"filename": "a.jpg", "split": "test", "sentences": [{"raw": "one"}, {"raw": "two"}]},
        {"filename": "b.jpg", "filepath": "val2014", "split": "restval", "sentences": [{"raw": "three"}]},
    ]
    file = tmp_path / "dataset_coco.json"
    file.write_text(json.dumps({"images": images}))
    source = open_layout("karpathy", tmp_path, "test")
    assert source.class_names is None
    assert (source.name, read(source, 0).captions) == ("coco", ("one", "two"))
    assert read(open_layout("karpathy", tmp_path, "train"), 0).key == "val2014/b.jpg"
    with pytest.raises(DataError, match="no image of the split 'val'"):
        open_layout("karpathy", tmp_path, "val")
    file.write_text('{"images": [{"filename": "a.jpg"}]}')
    with pytest.raises(DataError, match="KeyError"):
        open_layout("karpathy", tmp_path, "test")


def test_grey_images_of_lists_and_arrays_are_decoded_alike(tmp_path):
    """An array's pixels are what a file with them would give."""
    digits = RNG.integers(0, 256, (1, 28, 28), np.uint8)
    idx(tmp_path / "t10k-images-idx3-ubyte", digits)
    idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(1, np.uint8))
    from diptych.data.preprocess import decode_image

    Image.fromarray(digits[0]).save(tmp_path / "0.png")
    array = decode_image(read(open_layout("idx", tmp_path, "test"), 0).image)
    assert array.tobytes() == decode_image(tmp_path / "0.png").tobytes()


def test_every_layout_says_what_tells_it() -> None:
    for name, layout in published.LAYOUTS.items():
        assert layout.marks, name
        assert layout.splits, name
