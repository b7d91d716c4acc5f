"""One file of weights, whatever wrote it: its container is recognised by its bytes, its tensors keep their names."""

from __future__ import annotations

import math
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diptych.checkpoints.big_vision import read_npz
from diptych.checkpoints.boundary import listed
from diptych.checkpoints.limits import asked_for, asked_for_by_old, open_zip
from diptych.checkpoints.openai import LARGEST_PICKLE, is_archive, read_archive
from diptych.checkpoints.tensors import Entry, read_safetensors
from diptych.errors import CheckpointError
from diptych.tower_specs import Activation

# Numbers that OpenAI's code keeps beside the weights of a model, and nobody else's does.
_OPENAI_NUMBERS = ("input_resolution", "context_length", "vocab_size")
_NOT_RUN = (
    "it was not run. If you trust its author, load it where it was made and save the tensors alone: "
    "torch.save(model.state_dict(), ...)"
)
_BOMB = 100  # times smaller than what it holds is no archive of weights, but a bomb
# What wrappers put before every name: DistributedDataParallel, torch.compile.
_WRAPPERS = re.compile(r"(module\.|_orig_mod\.)+")


@dataclass(frozen=True)
class WeightsFile:
    """The tensors of one file; where the file tells, the activation, or all of what ``diptych.json`` would say."""

    container: str
    entries: dict[str, Entry]
    activation: Activation | None = None
    activation_from: str = ""
    description: str | None = None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor, with all the axes that it has in the file."""
        return {name: entry.axes or entry.shape for name, entry in self.entries.items()}


def read_weights(path: Path) -> WeightsFile:
    """A safetensors file, an OpenAI TorchScript archive, an npz, a pickle of tensors, bare or in a training checkpoint.

    Nothing in the file is executed. Raises CheckpointError for a file that is none of these, cut off, wants to run
    code, or holds a few bytes as very many tensors.
    """
    file = _read(path)
    whole = sum(math.prod(entry.shape) * entry.dtype.itemsize for entry in file.entries.values())
    if whole > _BOMB * path.stat().st_size:
        raise CheckpointError(f"{path} would unpack to {whole >> 20} MB; weights do not shrink so far")
    return file


def _read(path: Path) -> WeightsFile:
    with path.open("rb") as file:
        start = file.read(16)
    if start[8:9] == b"{":  # eight bytes of length, then JSON
        entries, metadata = read_safetensors(path)
        return replace(_weights(entries, "safetensors"), description=metadata.get("diptych"))
    if start[:4] == b"PK\x03\x04":
        names, asked = _members(path)
        if is_archive(names):
            return _openai(path)
        if all(name.endswith(".npy") for name in names):
            return WeightsFile("npz", read_npz(path))
        return _weights(_read_pickle(path, asked, mapped=True), "pickle")
    if start[:1] == b"\x80":
        return _weights(_read_pickle(path, _asked_by_old(path), mapped=False), "pickle")
    what = "is empty" if not start else f"starts with {start[:4]!r}"
    raise CheckpointError(
        f"{path} is not a checkpoint: it {what}; give a .safetensors, .pt, .pth, .bin or .npz file of weights"
    )


def _members(path: Path) -> tuple[list[str], str | None]:
    """The names in a zip, and what its pickle asks for that no state dict needs."""
    try:
        with open_zip(path) as archive:
            members = archive.infolist()
            unpacked = sum(member.file_size for member in members)
            if unpacked > _BOMB * path.stat().st_size:
                raise CheckpointError(f"{path} would unpack to {unpacked >> 20} MB; weights do not shrink so far")
            names = [member.filename for member in members]
            if len({name.lower() for name in names}) < len(names):  # of two, readers take different ones
                raise CheckpointError(f"{path} holds two files of one name; fetch or write it again")
            pickled = [] if is_archive(names) else [name for name in names if name.lower().endswith("/data.pkl")]
            return names, next(filter(None, (asked_for(_bounded(archive, name)) for name in pickled)), None)
    except CheckpointError:
        raise
    except Exception as error:  # names that are no text, odd compressions: whatever a broken zip makes its reader meet
        raise CheckpointError(f"{path} is cut off or damaged ({error!s:.300}); fetch or write it again") from error


def _bounded(archive: zipfile.ZipFile, name: str) -> bytes:
    if (size := archive.getinfo(name).file_size) > LARGEST_PICKLE:
        raise pickle.UnpicklingError(f"its {name} has {size >> 20} MB, that of weights has not")
    return archive.read(name)


def _asked_by_old(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return asked_for_by_old(file)
    except Exception as error:  # likewise
        raise CheckpointError(f"{path} is cut off or no pickle ({error!s:.300}); fetch or write it again") from error


def _openai(path: Path) -> WeightsFile:
    archive = read_archive(path)
    if archive.activation:
        return _weights(archive.tensors, "TorchScript archive", archive.activation, "the classes in the archive")
    return _weights(archive.tensors, "TorchScript archive", "quick_gelu", "OpenAI's archives are QuickGELU")


def _weights(
    entries: dict[str, Entry], container: str, activation: Activation | None = None, activation_from: str = ""
) -> WeightsFile:
    entries = _unwrapped(entries)
    if activation is None and all(number in entries for number in _OPENAI_NUMBERS):
        activation, activation_from = "quick_gelu", f"the file keeps {', '.join(_OPENAI_NUMBERS)}, as OpenAI's do"
    kept = {name: entry for name, entry in entries.items() if not _is_constant(name)}
    return WeightsFile(container, kept, activation, activation_from)


def _unwrapped(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    plain: dict[str, Entry] = {}
    for name, entry in entries.items():
        short = _WRAPPERS.sub("", name, count=1) if _WRAPPERS.match(name) else name
        if short in plain:
            raise CheckpointError(f"two tensors are called {short!r:.80} once 'module.' and '_orig_mod.' are taken off")
        plain[short] = entry
    return plain


def _is_constant(name: str) -> bool:
    """Not weights: OpenAI's numbers, and the causal triangle and the counting of places that older files stored."""
    return name in _OPENAI_NUMBERS or name.rpartition(".")[2] in ("attn_mask", "position_ids")


def _read_pickle(path: Path, asked: str | None, *, mapped: bool) -> dict[str, Entry]:
    if asked:
        raise CheckpointError(f"{path} asks to load {asked:.80}; {_NOT_RUN}")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} is no pickle of tensors; {_NOT_RUN}") from error
    except Exception as error:  # whatever a broken pickle makes its reader trip over
        raise CheckpointError(f"{path} cannot be read as a pickle of tensors ({error}); fetch it again") from error
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    return {name: Entry.of(tensor) for name, tensor in _tensors(loaded, path).items()}


def _tensors(loaded: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}; a checkpoint is a dict of tensors by name")
    others = {str(k): v for k, v in loaded.items() if not isinstance(v, Tensor) and k not in _OPENAI_NUMBERS}
    if others or not loaded:
        found = (f"{name:.60} ({type(value).__name__})" for name, value in others.items())
        raise CheckpointError(
            f"{path} holds {listed(found, 6)} where tensors were expected; a training checkpoint keeps them under "
            "'state_dict'"
        )
    tensors = {str(name): torch.as_tensor(value) for name, value in loaded.items()}
    for name, tensor in tensors.items():
        if tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized:
            raise CheckpointError(f"{path}: {name:.80} is not a plain tensor; save the weights dense, on the CPU")
        if tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"{path}: {name:.80} is larger than what is stored of it; save it contiguous")
    return tensors
