"""How several processes train one model: each has all weights, or its part of them; and what follows for whoever asks
for gradients and weights."""

import inspect
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from diptych import distributed
from diptych.training.blocks import blocks


def spread(module: nn.Module, *, sharding: Literal["none", "full"]) -> nn.Module:
    """What is to be run instead of ``module`` for its parameters to get the sum of all processes' gradients; itself
    where there is one process.

    ``full`` leaves each process a part of every parameter and of its gradient, and gathers the whole of a block, in
    fp32, while it is run; autocast does with it what it does on one process.
    """
    if distributed.world_size() == 1:
        return module
    return _sharded(module) if sharding == "full" else _replicated(module)


def _replicated(module: nn.Module) -> nn.Module:
    known = inspect.signature(DistributedDataParallel).parameters
    # Called otherwise since PyTorch 2.13.
    keep_buffers: dict[str, Any] = {
        "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False
    }
    parallel = DistributedDataParallel(
        _Idle(module), find_unused_parameters=True, gradient_as_bucket_view=True, **keep_buffers
    )
    parallel.register_comm_hook(None, _sum)
    return parallel


class _Idle(nn.Module):
    """A module beside a parameter that is never used.

    Asked to look for parameters without a gradient, PyTorch sums the others in the same order at every step, the first
    one included, so that a run that is resumed gets the same last bits; and towers of other libraries have some. Where
    it finds none at all it advises against asking, on every process.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        first = next(module.parameters())
        self.idle = nn.Parameter(torch.zeros(1, device=first.device))

    def forward(self, *inputs: Any) -> Any:
        return self.module(*inputs)


# DDP insists on its type being written out here, so annotations are not postponed in this file.
def _sum(state: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """The sum of gradients in fp32, since the processes' losses are shares of one; PyTorch's own is the mean."""
    own = bucket.buffer()
    future = dist.all_reduce(own.float(), async_op=True).get_future()
    return future.then(lambda done: own.copy_(done.value()[0]))


def _sharded(module: nn.Module) -> nn.Module:
    device = next(module.parameters()).device.type
    mesh = init_device_mesh(device, (distributed.world_size(),))
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    for parameter in module.parameters():
        parameter.data = parameter.data.contiguous()  # it divides no other layout
    for block in blocks(module):
        fully_shard(block, mesh=mesh, mp_policy=policy)
    numbers = {parameter for parameter in module.parameters() if parameter.ndim == 0}  # which cannot be divided
    fully_shard(module, mesh=mesh, mp_policy=policy, ignored_params=numbers)
    for part in module.modules():
        if isinstance(part, FSDPModule):  # sums, since the processes' losses are shares of one
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)  # gloo knows no other
    return module


def finished_gradients(module: nn.Module) -> list[Tensor]:
    """After the backward pass, see to it that all gradients are sums over the processes; returns `local_gradients`."""
    if distributed.world_size() > 1 and isinstance(module, FSDPModule):
        left_out = (p for p in module.parameters() if not isinstance(p, DTensor))
        distributed.sum_in_place(p.grad for p in left_out if p.grad is not None)
    return local_gradients(module)


def local_gradients(module: nn.Module) -> list[Tensor]:
    """What this process has of each gradient, to be changed in place."""
    found = (parameter.grad for parameter in module.parameters())
    return [g.to_local() if isinstance(g, DTensor) else g for g in found if g is not None]


def total_norm(module: nn.Module, gradients: list[Tensor]) -> Tensor:
    """The length of the gradient of all parameters, whole ones and parts, given ``gradients`` of this process."""
    if not isinstance(module, FSDPModule):
        return torch.nn.utils.get_total_norm(gradients)
    divided = [isinstance(p, DTensor) for p in module.parameters() if p.grad is not None]
    norms = torch.stack([gradient.float().norm() for gradient in gradients])
    parts = torch.tensor(divided, device=norms.device)
    own, everywhere = norms[parts].square().sum(), norms[~parts].square().sum()
    return (distributed.summed(own) + everywhere).sqrt()


def is_sharded(model: nn.Module) -> bool:
    """Whether each process has only a part of the model."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name: the model's own, or, put together from the parts of all processes, copies on the
    main process and nothing on the others."""
    if not is_sharded(model):
        return {name: tensor.detach() for name, tensor in model.state_dict().items()}
    weights = {}
    for name, tensor in model.state_dict().items():
        whole = tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor.cpu()
        if distributed.is_main():
            weights[name] = whole.detach()
    return weights


@torch.no_grad()
def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy whole weights into a model, each process its part."""
    for name, tensor in model.state_dict().items():
        whole = weights[name].to(tensor.device)
        if isinstance(tensor, DTensor):
            whole = distribute_tensor(whole, tensor.device_mesh, tensor.placements)
        tensor.copy_(whole)
