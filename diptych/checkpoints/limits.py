"""What a file's own table of contents may ask for, looked at before a library reads it.

Each entry of such a table costs its reader far more time and memory than it has bytes, and a pickle that runs no code
can still ask for gigabytes: PyTorch's reader lets it call ``bytearray`` and encode texts.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import torch

from diptych.errors import CheckpointError
from diptych.unpickle import Opcode, opcodes

_LARGEST_DIRECTORY = 2 << 20  # of a zip; that of 10,000 tensors has under 1 MB
_LARGEST_HEADER, _MOST_TENSORS = 4 << 20, 10_000  # of a safetensors file; real ones have some thousand
_PICKLES = 5  # in PyTorch's old format, before the bytes of the tensors

# A state dict asks for these; sparse tensors, those without numbers and sets are refused, or passed over, later.
_HARMLESS = {
    *("collections.OrderedDict", "torch.Size", "torch.device", "torch.nn.parameter.Parameter"),
    *("torch.serialization._get_layout", "builtins.set", "builtins.complex", "__builtin__.set", "__builtin__.complex"),
    *(f"torch._utils._rebuild_{what}" for what in ("tensor", "tensor_v2", "parameter", "parameter_with_state")),
    *(f"torch._utils._rebuild_{what}" for what in ("sparse_tensor", "meta_tensor_no_storage")),
    *("torch.storage.UntypedStorage", "torch.storage.TypedStorage"),
}
_BY_OTHER_WAYS = ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4")


def check_safetensors(path: Path) -> None:
    """CheckpointError for a header that is larger, or names more tensors, than any model's."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LARGEST_HEADER:
            raise CheckpointError(f"{path} has a header of {length >> 20} MB; a model's has less than one")
        tensors = file.read(length).count(b'"data_offsets"')
    if tensors > _MOST_TENSORS:
        raise CheckpointError(f"{path} names {tensors:,} tensors; no model has over {_MOST_TENSORS:,}")


def open_zip(path: Path) -> zipfile.ZipFile:
    """A zip whose directory is no larger than an archive of weights has, and that is packed in a usual way.

    Raises CheckpointError, and whatever a broken zip makes its reader meet.
    """
    with path.open("rb") as file:
        largest = max(_directories(file), default=0)
    if largest > _LARGEST_DIRECTORY:
        raise CheckpointError(f"{path} has a directory of {largest >> 20} MB; an archive of weights has less than one")
    archive = zipfile.ZipFile(path)
    for member in archive.infolist():
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            archive.close()
            raise CheckpointError(f"{path}: {member.filename!r:.80} is packed as no writer of weights packs")
    return archive


def _directories(file: IO[bytes]) -> Iterator[int]:
    """Sizes of a zip's directory by each record that a reader may take for the one at its end."""
    size = file.seek(0, 2)
    start = max(0, size - (1 << 16) - 22)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 16:
        return
    if tail[at + 12 : at + 16] != b"\xff" * 4:  # stands for a number that the record before it holds
        yield struct.unpack_from("<L", tail, at + 12)[0]
    if at < 20 or tail[at - 20 : at - 16] != b"PK\x06\x07":
        return
    # Of more than 4 GB: some readers look where the locator says, some right before it.
    for place in (struct.unpack_from("<Q", tail, at - 12)[0], start + at - 20 - 56):
        if 0 <= place < size:
            file.seek(place)
            record = file.read(48)
            if record[:4] == b"PK\x06\x06" and len(record) == 48:
                yield struct.unpack_from("<Q", record, 40)[0]


def asked_for(pickled: bytes) -> str | None:
    """The first name that a pickle asks to load and that no state dict needs; None where there is none.

    Raises UnpicklingError and ValueError for what is no pickle.
    """
    return next(filter(None, map(_asked_for, opcodes(pickled))), None)


def asked_for_by_old(file: IO[bytes]) -> str | None:
    """The same of the pickles at the beginning of a file in PyTorch's old format, or of a bare one."""
    count = 0
    for _ in range(_PICKLES):
        begins = file.tell()
        if not file.read(1):
            return None
        file.seek(begins)
        for opcode in opcodes(file, count):
            count += 1
            if found := _asked_for(opcode):
                return found
    return None


def _asked_for(opcode: Opcode) -> str | None:
    kind, argument, _ = opcode
    if kind.name in _BY_OTHER_WAYS:
        return f"something by {kind.name}"
    name = str(argument).replace(" ", ".", 1)
    return name if kind.name == "GLOBAL" and not _is_harmless(name) else None


def _is_harmless(name: str) -> bool:
    of_torch = name.removeprefix("torch.")
    if name in _HARMLESS or (name.startswith("torch.") and of_torch.endswith("Storage") and of_torch.isidentifier()):
        return True
    return name.startswith("torch.") and isinstance(getattr(torch, of_torch, None), torch.dtype)
