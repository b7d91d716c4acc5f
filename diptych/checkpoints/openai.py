"""OpenAI's TorchScript archives, read without executing anything in them.

An archive is a zip: ``data.pkl`` describes the tree of modules and where each tensor lies, ``data/N`` are the bytes of
storage N, ``code/`` is a program. The program is never looked at; of the pickle only tensors and attributes are
rebuilt, and whatever else it asks for is refused by name.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diptych.checkpoints.limits import open_zip
from diptych.checkpoints.tensors import Entry
from diptych.errors import CheckpointError
from diptych.tower_specs import Activation
from diptych.unpickle import Function, Kind, Module, rebuild

_STORAGES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}
LARGEST_PICKLE = 64 << 20  # the released ones are under 1 MB
_MOST_VALUES, _DEEPEST, _LONGEST_NAME = 100_000, 100, 1000  # far beyond those of any model


@dataclass(frozen=True)
class Archive:
    """Tensors by their dotted names, and the activation if a module's class tells."""

    tensors: dict[str, Entry]
    activation: Activation | None


def is_archive(names: list[str]) -> bool:
    """Whether the zip with these members is a TorchScript archive (and not what ``torch.save`` writes)."""
    return any(name.endswith("/constants.pkl") for name in names)


def read_archive(path: Path) -> Archive:
    """The tensors of a TorchScript archive; they are read when their turn comes, each checked
    against its checksum.

    Raises CheckpointError for an archive that is cut off, inconsistent, or whose pickle asks for anything but tensors.
    """
    try:
        archive = open_zip(path)
        reader = _Reader(archive, path)
        return reader.flatten(reader.load())
    except CheckpointError:
        raise
    except Exception as error:  # whatever a hostile or broken pickle makes the machine trip over
        raise CheckpointError(f"{path} is not a whole TorchScript archive ({error!r}); fetch it again") from error


class _Storage(NamedTuple):
    record: str
    dtype: torch.dtype
    count: int


class _Reader:
    """One archive: knows its zip, and what the names in its pickle may mean."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self.archive, self.path = archive, path
        [pickled] = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        self.pickled = archive.getinfo(pickled)
        self.folder = pickled.removesuffix("data.pkl") + "data/"

    def load(self) -> Any:
        if self.pickled.file_size > LARGEST_PICKLE:
            raise CheckpointError(f"{self.path}: its data.pkl has {self.pickled.file_size >> 20} MB, a model's has not")
        return rebuild(self.archive.read(self.pickled), self)

    def flatten(self, root: Any) -> Archive:
        if not isinstance(root, Module):
            raise CheckpointError(f"{self.path} holds no module at its top, but {type(root).__name__}")
        tensors: dict[str, Entry] = {}
        activations: set[Activation] = set()
        for name, value in _walk(root, ""):
            if isinstance(value, Entry):
                tensors[name] = value
            elif isinstance(value, Module):
                activations |= _activation(name, value.kind)
        if len(activations) > 1:
            raise CheckpointError(f"{self.path} mixes GELU and QuickGELU; its architecture cannot be told")
        return Archive(tensors, activations.pop() if activations else None)

    def named(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for."""
        if module.startswith("__torch__"):
            return Kind(f"{module}.{name}")
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return Function(self.tensor)
        if (module, name) == ("collections", "OrderedDict"):
            return Function(dict)
        if module == "torch.jit._pickle" and name.startswith(("build_", "restore_type_tag")):
            return Function(lambda value, *_: value)  # typed lists and tagged values are what they hold
        raise CheckpointError(
            f"{self.path} asks to load {module}.{name}, which no model needs; it was not run. Do not trust this file"
        )

    def stored(self, identity: Any) -> _Storage:
        """The record and the type of a storage; the device it was on does not matter."""
        kind, dtype, record, _device, count = identity
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(count, int):
            raise CheckpointError(f"{self.path}: {identity!r} is no storage")
        info = self.archive.getinfo(self.folder + record)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != count * dtype.itemsize:
            raise CheckpointError(f"{self.path}: record {record} is not {count} values of {dtype}")
        return _Storage(info.filename, dtype, count)

    def tensor(self, storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Entry:
        if not all(type(number) is int for number in (offset, *shape, *stride)):
            raise CheckpointError(f"{self.path}: a tensor {shape!r:.80} whose sizes are no whole numbers")
        last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        empty = 0 in shape
        if min((offset, *shape, *stride)) < 0 or (not empty and last >= storage.count):
            raise CheckpointError(f"{self.path}: a tensor {shape} reaches beyond its record {storage.record}")
        if math.prod(shape) > storage.count:
            raise CheckpointError(f"{self.path}: a tensor {shape} is larger than its record {storage.record}")
        return Entry(tuple(shape), storage.dtype, lambda: self.bytes_of(storage).as_strided(shape, stride, offset))

    def bytes_of(self, storage: _Storage) -> Tensor:
        try:
            raw = bytearray(self.archive.read(storage.record))  # the zip checks their checksum
        except Exception as error:  # likewise
            raise CheckpointError(f"{self.path} is damaged: {error}; fetch it again") from error
        return torch.frombuffer(raw, dtype=storage.dtype) if raw else torch.empty(0, dtype=storage.dtype)


def _walk(root: Module, prefix: str) -> Iterator[tuple[str, Any]]:
    stack, visited = [(prefix, root, 0)], 0
    while stack:
        prefix, module, depth = stack.pop()
        visited += len(module.state)
        if depth > _DEEPEST or visited > _MOST_VALUES or len(prefix) > _LONGEST_NAME:
            raise CheckpointError("an archive whose modules contain one another has no end")
        for key, value in module.state.items():
            yield f"{prefix}{key}", value
            if isinstance(value, Module):
                stack.append((f"{prefix}{key}.", value, depth + 1))


def _activation(name: str, kind: str) -> set[Activation]:
    if not name.endswith(".mlp.gelu"):
        return set()
    if "QuickGELU" in kind:
        return {"quick_gelu"}
    return {"gelu"} if kind.endswith(".GELU") else set()
