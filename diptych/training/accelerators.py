"""What accelerators can do at best: dense matrix products, as their makers give them."""

from __future__ import annotations

import re

import torch

# In 10^12 operations a second: bf16, fp16, both with sums in fp32, and fp32 without TF32. 0 where the unit is missing.
_PEAKS: dict[str, tuple[float, float, float]] = {
    "H200": (989.4, 989.4, 66.9),
    "H100 PCIe": (756.0, 756.0, 51.2),
    "H100 NVL": (835.5, 835.5, 60.0),
    "H100": (989.4, 989.4, 66.9),
    "A100": (312.0, 312.0, 19.5),
    "A40": (149.7, 149.7, 37.4),
    "A10": (125.0, 125.0, 31.2),
    "V100": (0.0, 125.0, 15.7),
    "L40S": (362.0, 362.0, 91.6),
    "L4": (121.0, 121.0, 30.3),
    "T4": (0.0, 65.0, 8.1),
    "RTX 4090": (165.2, 165.2, 82.6),
    "RTX 3090": (71.0, 71.0, 35.6),
}
_COLUMNS = {"bf16": 0, "fp16": 1, "fp32": 2}


def device_name(device: torch.device) -> str:
    """A device as its maker calls it; ``cpu`` for a processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def peak_flops(name: str, precision: str) -> float | None:
    """Operations a second of the device of this name in this precision; None where nobody noted them, as of
    processors."""
    for known, peaks in _PEAKS.items():
        if re.search(rf"(?<![A-Za-z0-9]){re.escape(known)}(?![A-Za-z0-9])", name):
            return peaks[_COLUMNS[precision]] * 1e12 or None
    return None
