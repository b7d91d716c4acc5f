"""What an optimiser remembers of each parameter, as safetensors files: one of each process that holds a part of it.

PyTorch's distributed checkpoint writes them, and reads them into any number of processes, sharded or not.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.tensor import DTensor, distribute_tensor

_WHOLE = "optimizer"  # what all names begin with; PyTorch takes its time for each thing that it is given by itself


def remembered(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors, named after parameters: ``logit_scale.exp_avg``."""
    return {
        f"{name}.{kind}": value
        for name, parameter in model.named_parameters()
        for kind, value in optimizer.state.get(parameter, {}).items()
    }


def write(tensors: dict[str, Tensor], folder: Path, group: dist.ProcessGroup | None) -> None:
    """Write what was `remembered`, durably. ``group``: the processes that write it together, None where one does.

    Raises ``dcp.api.CheckpointException`` where one of them cannot.
    """
    _one_process_is_meant()
    files = dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True)
    packed = {name: tensor.contiguous() for name, tensor in tensors.items()}
    dcp.save({_WHOLE: packed}, storage_writer=files, process_group=group, no_dist=group is None)


def restore(folder: Path, before: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Give an optimiser back what a checkpoint holds: ``before``, its ``state_dict()``, in which the tensors are
    missing that are in ``folder``, or, in checkpoints of older versions, are not."""
    places = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if folder.is_dir():
        numbers = {id(parameter): number for number, parameter in enumerate(places)}
        state: dict[int, dict[str, Tensor]] = {}
        parameters = dict(model.named_parameters())
        for key, tensor in _read(folder, parameters).items():
            name, _, kind = key.rpartition(".")
            state.setdefault(numbers[id(parameters[name])], {})[kind] = tensor
    else:
        state = {
            number: {kind: _divided(value, places[number]) for kind, value in values.items()}
            for number, values in before["state"].items()
        }
    optimizer.load_state_dict(before | {"state": state})


def _read(folder: Path, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    _one_process_is_meant()
    tensors = {}
    for whole_key, found in dcp.HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata.items():
        assert isinstance(found, TensorStorageMetadata)  # safetensors hold nothing else
        key = whole_key.removeprefix(f"{_WHOLE}.")
        parameter, dtype = parameters[key.rpartition(".")[0]], found.properties.dtype
        if found.size == parameter.shape:
            tensors[key] = torch.empty_like(parameter, dtype=dtype, requires_grad=False)
        else:
            tensors[key] = torch.empty(found.size, dtype=dtype)
    dcp.load({_WHOLE: tensors}, storage_reader=dcp.HuggingFaceStorageReader(str(folder)), no_dist=True)
    return tensors


def _divided(value: Tensor, parameter: Tensor) -> Tensor:
    if isinstance(parameter, DTensor) and value.shape == parameter.shape:
        return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
    return value


def _one_process_is_meant() -> None:
    warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
