import dataclasses
import os
import pickle
import struct
import zipfile

import pytest
import torch
from openai_layout import openai_model, save_archive
from twins import RELEASED, random_weights, renames, twin

from diptych.checkpoints.bundle import build, read
from diptych.checkpoints.openai import read_archive
from diptych.errors import CheckpointError
from diptych.zoo import find


def _inputs(spec):
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 3, spec.image.image_size, spec.image.image_size, generator=generator)
    ids = torch.randint(1, spec.text.vocabulary_size - 1, (3, spec.text.context_length), generator=generator)
    ids[:, 5:] = 0
    ids[:, 4] = spec.text.vocabulary_size - 1
    return pixels, ids


@pytest.mark.parametrize("name", RELEASED)
@torch.no_grad()
def test_archive_gives_the_embeddings_of_the_program_in_it(name, tmp_path):
    spec = twin(name)
    model = openai_model(spec, random_weights(spec))
    bundle = read(save_archive(model, tmp_path / "model.pt", trace=name.startswith("RN")))
    assert dataclasses.replace(bundle.spec, name="twin") == spec
    ours, theirs = build(bundle)(*_inputs(spec)), model(*_inputs(spec))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(*(x / x.norm(dim=1, keepdim=True) for x in (a, b)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["RN50x4", "ViT-L/14@336px"])
def test_half_precision_archive_becomes_fp32(name, tmp_path):
    spec = twin(name)
    weights = random_weights(spec)
    bundle = read(save_archive(openai_model(spec, weights), tmp_path / "model.pt", half=True))
    for key, tensor in weights.items():
        stored = tensor.half() if tensor.ndim > 1 else tensor
        torch.testing.assert_close(bundle.weights[key], stored.to(tensor.dtype), atol=0, rtol=0)


def test_plain_state_dict_with_openais_numbers_is_quick_gelu(tmp_path):
    spec = twin("ViT-B/16")
    torch.save(openai_model(spec, random_weights(spec)).state_dict(), tmp_path / "model.pt")
    bundle = read(tmp_path / "model.pt")
    assert bundle.spec.text.activation == "quick_gelu"
    assert "input_resolution" in bundle.provenance["activation_from"]


def test_the_classes_in_an_archive_decide_the_activation(tmp_path):
    spec = twin("ViT-B/32")
    gelu = dataclasses.replace(
        spec,
        image=dataclasses.replace(spec.image, activation="gelu"),
        text=dataclasses.replace(spec.text, activation="gelu"),
    )
    path = save_archive(openai_model(gelu, random_weights(gelu)), tmp_path / "model.pt")
    assert read(path).spec.text.activation == "gelu"
    with pytest.raises(CheckpointError, match="contradicts"):
        read(path, activation="quick_gelu")
    assert read(path, spec=spec).spec.text.activation == "quick_gelu"


def test_names_a_released_architecture():
    from diptych.checkpoints.architecture import infer
    from diptych.checkpoints.tensors import expected

    for spec in map(find, RELEASED):
        names = renames(spec)
        shapes = {names[name]: tuple(tensor.shape) for name, tensor in expected(spec).items()}
        assert infer(shapes, "quick_gelu", name="?", where="?") == spec
        assert infer(shapes, "gelu", name="?", where="?").name == spec.name


class _Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def _archive(path, pickled: bytes, records: dict[str, bytes] | None = None):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickled)
        archive.writestr("model/constants.pkl", pickle.dumps(()))
        for name, content in (records or {}).items():
            archive.writestr(f"model/data/{name}", content)
    return path


def test_an_archive_that_wants_to_run_code_runs_nothing(tmp_path):
    marker = tmp_path / "ran"
    path = _archive(tmp_path / "bomb.pt", pickle.dumps(_Bomb(marker), protocol=2))
    with pytest.raises(CheckpointError, match=r"posix\.mkdir|nt\.mkdir"):
        read(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02K\x01r\xff\xff\xff\x7f.",  # a memo of two thousand million places
        b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93.",  # names from the stack
        b"\x80\x02cos\nmkdir\n.",
        b"\x80\x02(cos\nmkdir\nX\x01\x00\x00\x00ao.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}(X\x01\x00\x00\x00aK\x01ub.",
        b"\x80\x02\x8a\xff.",
        b"\x80\x02",
        b"",
    ],
)
def test_hostile_pickles_are_refused(pickled, tmp_path):
    with pytest.raises(CheckpointError):
        read(_archive(tmp_path / "a.pt", pickled))


def _tensor(shape: tuple, stride: tuple, count: int, offset: int = 0) -> bytes:
    """A pickle of a module with one tensor, written by hand so that its numbers can lie."""

    def number(n: int) -> bytes:
        return b"J" + struct.pack("<i", n)

    def numbers(values: tuple) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(count) + b"tQ" + number(offset)
    rebuilt += numbers(shape) + numbers(stride) + b"\x88ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02c__torch__\nM\n)\x81}(X\x01\x00\x00\x00w" + rebuilt + b"ub."


def test_the_handwritten_pickle_is_read(tmp_path):
    path = _archive(tmp_path / "a.pt", _tensor((2, 3), (1, 2), 6), {"0": struct.pack("<6f", *range(6))})
    assert read_archive(path).tensors["w"].load().tolist() == [[0, 2, 4], [1, 3, 5]]


@pytest.mark.parametrize(
    ("shape", "stride", "count", "offset"),
    [
        ((2, 4), (4, 1), 6, 0),
        ((2, 3), (3, 1), 6, 1),
        ((2, 3), (3, 1), 6, -1),
        ((2, 3), (-3, 1), 6, 3),
        ((-2, 3), (3, 1), 6, 0),
        ((2**30, 3), (0, 1), 6, 0),
        ((2, 3), (3,), 6, 0),
        ((2, 3), (3, 1), 7, 0),
    ],
)
def test_tensors_that_lie_about_their_bytes_are_refused(shape, stride, count, offset, tmp_path):
    path = _archive(tmp_path / "a.pt", _tensor(shape, stride, count, offset), {"0": bytes(24)})
    with pytest.raises(CheckpointError):
        read_archive(path)


def test_modules_that_contain_themselves_end(tmp_path):
    looped = b"\x80\x02c__torch__\nM\n)\x81q\x00}(X\x01\x00\x00\x00mh\x00ub."
    with pytest.raises(CheckpointError, match="no end"):
        read_archive(_archive(tmp_path / "a.pt", looped))


def test_damaged_and_cut_archives_are_refused(tmp_path):
    spec = twin("ViT-B/32")
    path = save_archive(openai_model(spec, random_weights(spec)), tmp_path / "model.pt")
    whole = path.read_bytes()
    for length in (5, 100, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read(path)
    with zipfile.ZipFile(_written(path, whole)) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    damaged = bytearray(whole)
    damaged[largest.header_offset + largest.file_size // 2] ^= 255
    with pytest.raises(CheckpointError, match="damaged"):
        read(_written(path, bytes(damaged)))


def _written(path, content: bytes):
    path.write_bytes(content)
    return path


def test_random_changes_of_the_pickle_never_escape(tmp_path):
    """Whatever bytes a pickle is made of, reading gives tensors or a CheckpointError."""
    good = _tensor((2, 3), (3, 1), 6)
    generator = torch.Generator().manual_seed(0)
    refused = 0
    for _ in range(300):
        bad = bytearray(good)
        for _ in range(int(torch.randint(1, 4, (), generator=generator))):
            bad[int(torch.randint(2, len(bad), (), generator=generator))] = int(
                torch.randint(0, 256, (), generator=generator)
            )
        path = _archive(tmp_path / "a.pt", bytes(bad), {"0": bytes(24)})
        try:
            for entry in read_archive(path).tensors.values():
                entry.load()
        except CheckpointError:
            refused += 1
    assert refused > 100
