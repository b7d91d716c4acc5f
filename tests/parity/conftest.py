"""The parity group runs where OpenCLIP is installed (`make parity`), and is not collected elsewhere."""

import importlib.util
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "checkpoints"))  # the twins

if importlib.util.find_spec("open_clip") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    # torchvision's compiled operators are not built for this PyTorch, and OpenCLIP calls none of them; it imports
    # once the two that it registers fakes for exist.
    _OPERATORS = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _OPERATORS.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
