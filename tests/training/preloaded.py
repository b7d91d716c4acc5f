"""What the processes of the tests import, by `processes` once."""

from importlib import import_module

for _name in (
    "pytest",
    "hypothesis",
    "numpy.random",
    "torch._dynamo",
    "torch.distributed.checkpoint",
    "torch.distributed.fsdp",
    "torch.utils.tensorboard",
    "diptych.cli.main",
    "diptych.training.loop",
    "tests.models.twins",
    "tests.training.small",
):
    import_module(_name)
