"""big_vision's ``.npz`` files of SigLIP: a zip of NumPy arrays, read one at a time.

Two things are undone here, so that the rest is renaming: attention kernels have an axis for the heads, and where the
layers were compiled as a loop, the arrays of all of them are one.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diptych.checkpoints.architecture import SAY_IT, Shapes, count, heads, named, ratio
from diptych.checkpoints.limits import open_zip
from diptych.checkpoints.tensors import Entry
from diptych.errors import CheckpointError, ConfigError
from diptych.specs import HALF, ModelSpec, PreprocessSpec, SiglipTextSpec, SiglipVisionSpec
from diptych.tower_specs import Activation

_HEADS = {768: 12, 1024: 16, 1152: 16, 1536: 16}  # of the published widths; once kernels are matrices none can tell
ASSUMED = (
    "12 or 16 heads, or heads of width 64, where kernels are matrices",
    "images of whole patches, squashed to pixels from -1 to 1",
    "the vocabulary's usual padding",
)
_LARGEST_HEADER = 4096
_LOOP, _MOST_LAYERS = "/encoderblock/", 1000
_HALF = np.dtype("V2")  # NumPy has no bfloat16 of its own
_TYPES = {_HALF, *map(np.dtype, ["?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "e", "f", "d"])}
_SIGLIP2_VOCABULARY = 256_000
_ATTENTION = re.compile(r".*/MultiHeadDotProductAttention_0/(query|key|value|out)/(kernel|bias)")


class _Array(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype
    load: Callable[[], np.ndarray]


def read_npz(path: Path) -> dict[str, Entry]:
    """The arrays of an npz file as tensors by their names without ``params/``; each is read when its turn comes.

    Raises CheckpointError for a file that is cut off, whose headers contradict its sizes, or that holds pickles.
    """
    try:
        archive = open_zip(path)
        arrays = {info.filename.removesuffix(".npy"): _array(archive, info, path) for info in archive.infolist()}
    except CheckpointError:
        raise
    except Exception as error:  # whatever a hostile or broken zip makes its reader trip over
        raise CheckpointError(f"{path} is not a whole npz file ({error}); fetch it again") from error
    entries: dict[str, Entry] = {}
    for name, array in arrays.items():
        entries |= dict(_unrolled(name.removeprefix("params/"), array, path))
    return entries


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> _Array:
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file, max_header_size=_LARGEST_HEADER)
        begins = file.tell()
    if dtype.newbyteorder("=") not in _TYPES or info.file_size != begins + dtype.itemsize * int(
        np.prod(shape, dtype=object)
    ):
        raise CheckpointError(f"{path}: {info.filename} is no plain array of numbers of the size that its header gives")
    if 0 in shape or (_LOOP in info.filename and not 0 < (shape or (0,))[0] <= _MOST_LAYERS):
        raise CheckpointError(f"{path}: {info.filename} has the shape {shape}, as no weights have")

    def load() -> np.ndarray:
        try:
            with archive.open(info) as file:
                file.seek(begins)
                values = np.frombuffer(bytearray(file.read()), dtype).reshape(shape, order="F" if fortran else "C")
                # PyTorch has no other order of bytes.
                return np.ascontiguousarray(values.astype(dtype.newbyteorder("="), copy=False))
        except Exception as error:  # likewise
            raise CheckpointError(f"{path} is damaged at {info.filename} ({error}); fetch it again") from error

    return _Array(shape, dtype, load)


def _unrolled(name: str, array: _Array, path: Path) -> Iterator[tuple[str, Entry]]:
    """One entry, or one for each layer of a loop (``encoderblock/`` without a number)."""
    if _LOOP not in name:
        yield name, _entry(name, array.shape, array, None)
        return
    for layer in range(array.shape[0]):
        numbered = name.replace(_LOOP, f"/encoderblock_{layer}/")
        yield numbered, _entry(numbered, array.shape[1:], array, layer)


def _entry(name: str, shape: tuple[int, ...], array: _Array, layer: int | None) -> Entry:
    flat = _flat(name, shape)

    def load() -> Tensor:
        values = array.load() if layer is None else array.load()[layer]
        if values.dtype == _HALF:
            return torch.from_numpy(values.view(np.int16).reshape(flat)).view(torch.bfloat16)
        return torch.from_numpy(values.reshape(flat))

    native = array.dtype.newbyteorder("=")
    dtype = torch.bfloat16 if native == _HALF else torch.from_numpy(np.empty(0, native)).dtype
    return Entry(flat, dtype, load, shape)


def _flat(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without the axis of the heads: kernels become (in, out), biases (out,)."""
    match = _ATTENTION.fullmatch(name)
    if not match or (len(shape), match[2]) not in ((3, "kernel"), (2, "bias")) or match[1] + match[2] == "outbias":
        return shape
    if match[2] == "bias":
        return (shape[0] * shape[1],)
    a, b, c = shape
    return (a * b, c) if match[1] == "out" else (a, b * c)


def infer(shapes: Shapes, activation: Activation, *, name: str, where: str) -> ModelSpec:
    """The SigLIP whose arrays have these shapes.

    What they cannot tell (ASSUMED) is as published. Raises CheckpointError where the arrays are not SigLIP's.
    """
    try:
        patch, _, _, width = shapes["img/embedding/kernel"]
        text_width = shapes["txt/Embed_0/embedding"][1]
        grid = round(shapes["img/pos_embedding"][1] ** 0.5)
        vocabulary = shapes["txt/Embed_0/embedding"][0]
        image = SiglipVisionSpec(
            image_size=grid * patch,
            patch_size=patch,
            width=width,
            layers=count(shapes, r"img/Transformer/encoderblock_(\d+)/"),
            heads=_heads(shapes, "img/", width),
            mlp_ratio=ratio(shapes["img/Transformer/encoderblock_0/MlpBlock_0/Dense_0/kernel"][1], width),
            activation=activation,
        )
        text = SiglipTextSpec(
            context_length=shapes["txt/pos_embedding"][1],
            vocabulary_size=vocabulary,
            padding_id=int(vocabulary != _SIGLIP2_VOCABULARY),
            width=text_width,
            layers=count(shapes, r"txt/Encoder_0/encoderblock_(\d+)/"),
            heads=_heads(shapes, "txt/", text_width),
            mlp_ratio=ratio(shapes["txt/Encoder_0/encoderblock_0/MlpBlock_0/Dense_0/kernel"][1], text_width),
            activation=activation,
        )
        spec = ModelSpec(
            name=name,
            embedding=shapes["txt/head/kernel"][1],
            image=image,
            text=text,
            preprocess=PreprocessSpec(size=image.image_size, resize="squash", mean=HALF, std=HALF),
            tokenizer="sentence_piece",
            scores="sigmoid",
        )
    except KeyError as error:
        raise CheckpointError(f"{where} has no array {error.args[0]!r}, so it is no SigLIP of big_vision") from error
    except (ConfigError, IndexError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"the architecture of {where} cannot be told from its arrays: {error}; {SAY_IT}"
        ) from error
    return named(spec)


def _heads(shapes: Shapes, tower: str, width: int) -> int:
    """From the axis of the heads, where kernels have one, else as published."""
    told = set()
    for name, shape in shapes.items():
        match = _ATTENTION.fullmatch(name)
        if match and name.startswith(tower) and match[2] == "kernel" and len(shape) == 3:
            told.add(shape[0] if match[1] == "out" else shape[1])
    if len(told) > 1:
        raise ValueError(f"the kernels of {tower} have {' and '.join(map(str, sorted(told)))} heads")
    return told.pop() if told else _HEADS.get(width) or heads(width, f"the tower of {tower}")
