"""npz files of SigLIP: read as written, and refused where they are damaged or hostile. (Parity: tests/parity.)"""

import dataclasses
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from diptych.checkpoints.bundle import read
from diptych.checkpoints.formats import BIG_VISION
from diptych.errors import CheckpointError
from diptych.models.clip import create_model
from diptych.specs import ModelSpec
from diptych.zoo import MODELS
from tests.models.twins import redraw, twin

SPEC = twin(MODELS["ViT-B/16-SigLIP"])


def arrays(spec: ModelSpec = SPEC) -> tuple[dict[str, torch.Tensor], dict[str, np.ndarray]]:
    """Weights, and the arrays that big_vision would keep: attention kernels with an axis for their heads."""
    weights = redraw(create_model(spec, seed=0)).state_dict()
    found = {}
    for name, place in BIG_VISION.places(spec).items():
        for part, tensor in place.split(weights[name]).items():
            array = tensor.numpy()
            tower = spec.image if part.startswith("img/") else spec.text
            width, heads = tower.width, tower.heads
            if part.endswith(("query/kernel", "key/kernel", "value/kernel")):
                array = array.reshape(width, heads, width // heads)
            elif part.endswith("out/kernel"):
                array = array.reshape(heads, width // heads, width)
            elif part.endswith(("query/bias", "key/bias", "value/bias")):
                array = array.reshape(heads, width // heads)
            found[f"params/{part}"] = array
    return weights, found


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_what_was_written(save: object, tmp_path: Path) -> None:
    weights, content = arrays()
    save(tmp_path / "a.npz", **content)
    bundle = read(tmp_path / "a.npz")
    assert all(torch.equal(bundle.weights[name], tensor) for name, tensor in weights.items())
    assert (bundle.spec.image, bundle.spec.text) == (SPEC.image, SPEC.text)
    assert bundle.provenance["activation_from"] == "all models of big_vision have it"


def test_half_precision_that_numpy_has_no_name_for(tmp_path: Path) -> None:
    weights, content = arrays()
    rounded = {
        name: torch.from_numpy(array).to(torch.bfloat16).view(torch.int16).numpy().view("V2")
        for name, array in content.items()
    }
    np.savez(tmp_path / "a.npz", **rounded)
    bundle = read(tmp_path / "a.npz")
    for name, tensor in weights.items():
        assert torch.equal(bundle.weights[name], tensor.to(torch.bfloat16).float())


def widened(width: int, heads: int) -> ModelSpec:
    sizes = {"width": width, "heads": heads}
    image, text = dataclasses.replace(SPEC.image, **sizes), dataclasses.replace(SPEC.text, **sizes)
    return dataclasses.replace(SPEC, embedding=width, image=image, text=text)


def test_heads_are_those_of_the_kernels(tmp_path: Path) -> None:
    spec = widened(96, 3)
    _, content = arrays(spec)
    np.savez(tmp_path / "a.npz", **content)
    assert (read(tmp_path / "a.npz").spec.image, read(tmp_path / "a.npz").spec.text) == (spec.image, spec.text)
    odd = "params/txt/Encoder_0/encoderblock_0/MultiHeadDotProductAttention_0/query/kernel"
    np.savez(tmp_path / "b.npz", **content | {odd: content[odd].reshape(96, 2, 48)})
    with pytest.raises(CheckpointError, match="kernels of txt/ have 2 and 3 heads"):
        read(tmp_path / "b.npz")


def test_heads_that_nothing_tells_are_asked_for(tmp_path: Path) -> None:
    spec = widened(96, 3)
    weights, content = arrays(spec)
    flat = {name: a.reshape(96, 96) if "Attention_0" in name and a.ndim == 3 else a for name, a in content.items()}
    np.savez(tmp_path / "a.npz", **flat)
    with pytest.raises(CheckpointError, match=r"96 wide, no multiple of 64.*spec=ModelSpec"):
        read(tmp_path / "a.npz")
    bundle = read(tmp_path / "a.npz", spec=spec)
    assert all(torch.equal(bundle.weights[name], tensor) for name, tensor in weights.items())


def test_the_order_of_bytes_does_not_matter(tmp_path: Path) -> None:
    weights, content = arrays()
    np.savez(tmp_path / "a.npz", **{name: array.astype(">f4") for name, array in content.items()})
    bundle = read(tmp_path / "a.npz")
    assert all(torch.equal(bundle.weights[name], tensor) for name, tensor in weights.items())


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (open, (str(self.marker), "w"))


def test_arrays_may_lie_by_columns(tmp_path: Path) -> None:
    """As NumPy saves what was transposed."""
    weights, content = arrays()
    np.savez(tmp_path / "a.npz", **{name: np.asfortranarray(array) for name, array in content.items()})
    ours = read(tmp_path / "a.npz").weights
    assert all(torch.equal(ours[name], tensor) for name, tensor in weights.items())


def test_damage_and_malice_end_in_an_error(tmp_path: Path) -> None:
    _, content = arrays()
    path = tmp_path / "a.npz"
    np.savez(path, **content)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"a\.npz"):
        read(path)
    np.savez(path, **content | {"params/t": np.array([Bomb(tmp_path / "was run")], dtype=object)})
    with pytest.raises(CheckpointError, match="no plain array"):
        read(path)
    assert not (tmp_path / "was run").exists()
    write_lying(path, content, "params/txt/Embed_0/embedding", shape=(2**40, 2**20))
    with pytest.raises(CheckpointError, match="no plain array"):
        read(path)
    np.savez(path, **{name: array for name, array in content.items() if "MAPHead" not in name})
    with pytest.raises(CheckpointError, match=r"missing img/MAPHead_0"):
        read(path)


def write_lying(path: Path, content: dict[str, np.ndarray], liar: str, shape: tuple[int, ...]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in content.items():
            buffer = io.BytesIO()
            header = {"descr": "<f4", "fortran_order": False, "shape": shape if name == liar else array.shape}
            np.lib.format.write_array_header_1_0(buffer, header)
            archive.writestr(f"{name}.npy", buffer.getvalue() + array.tobytes())


def test_random_damage_never_ends_otherwise(tmp_path: Path) -> None:
    _, content = arrays()
    path = tmp_path / "a.npz"
    np.savez(path, **content)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        bad = bytearray(whole)
        for place in random.integers(0, len(bad), 20):
            bad[place] = random.integers(256)
        path.write_bytes(bad)
        try:
            read(path)
        except CheckpointError:
            continue
