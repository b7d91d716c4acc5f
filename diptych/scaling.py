"""Compound scaling of the ResNet: deeper, wider and finer together, as EfficientNet has it (arXiv 1905.11946).

Compute goes with depth * width^2 * resolution^2. CLIP gives each of the three factors an equal share of what is added
(paper, section 2.4), so F times the compute is F^(1/3) times the depth and F^(1/6) times the width and resolution:

>>> scale(**shares(4)).image.image_size
288
"""

from __future__ import annotations

import math

from diptych.errors import ConfigError
from diptych.specs import ModelSpec, ModifiedResNetSpec, PreprocessSpec, TextTransformerSpec

# RN50, from which the others are scaled (paper, table 19). The text tower's width goes with the image tower's.
_LAYERS, _STEM, _SIZE, _TEXT = (3, 4, 6, 3), 64, 224, 512

# Where the released models have their blocks, by how many there are. They are no stretched RN50, and no rule for them
# was published; another number is spread as RN50 spreads its 16.
_RELEASED = {26: (4, 6, 10, 6), 40: (6, 8, 18, 8), 64: (3, 15, 36, 10)}


def shares(compute: float) -> dict[str, float]:
    """Multipliers of depth, width and resolution that take ``compute`` times RN50's, each an equal share of it."""
    if not 0 < compute < math.inf:
        raise ConfigError(f"compute must be a positive number of times RN50's, not {compute}")
    return {"depth": compute ** (1 / 3), "width": compute ** (1 / 6), "resolution": compute ** (1 / 6)}


def scale(depth: float, width: float, resolution: float, *, name: str = "") -> ModelSpec:
    """A ResNet with so many times RN50's depth, width and resolution.

    Residual blocks go to the nearest even number, the stem's width to the nearest multiple of 16, pixels up to a
    multiple of 32. Heads have 64 channels. Text tower and embedding have 8 times the stem's width; RN50 itself is the
    one released ResNet of the family whose embedding, 1,024, is not.
    With ``shares(4)``, ``shares(16)`` and ``shares(64)`` these are RN50x4, RN50x16 and RN50x64, whose image towers take
    3.55, 12.6 and 44.9 times RN50's operations, since its stem, strided blocks and pooling do not get deeper. Raises
    ConfigError for multipliers that are not positive, or leave less than a block a stage.

    >>> scale(1.0, 1.5, 1.0).text.width
    768
    """
    for what, times in (("depth", depth), ("width", width), ("resolution", resolution)):
        if not 0 < times < math.inf:
            raise ConfigError(f"{what} must be a positive number of times RN50's, not {times}")
    stem = max(16, 16 * round(_STEM * width / 16))
    # A hundredth of a pixel is rounding of the multiplier, and no reason for 32 more.
    size = 32 * math.ceil((_SIZE * resolution - 0.01) / 32)
    text = _TEXT * stem // _STEM
    return ModelSpec(
        name=name or f"RN-{depth:.3g}-{width:.3g}-{resolution:.3g}",
        embedding=text,
        image=ModifiedResNetSpec(image_size=size, layers=_layers(depth), stem_width=stem, heads=stem // 2),
        text=TextTransformerSpec(width=text, layers=12, heads=text // 64),
        preprocess=PreprocessSpec(size=size),
    )


def _layers(depth: float) -> tuple[int, int, int, int]:
    blocks = 2 * round(sum(_LAYERS) * depth / 2)
    if blocks < len(_LAYERS):
        raise ConfigError(f"depth {depth} leaves {blocks} residual blocks for {len(_LAYERS)} stages")
    return _RELEASED.get(blocks) or _spread(blocks)


def _spread(blocks: int) -> tuple[int, int, int, int]:
    """Blocks by stage in RN50's proportions, at least one each; what is left over goes to the largest remainders."""
    exact = [blocks * layers / sum(_LAYERS) for layers in _LAYERS]
    spread = [max(1, math.floor(share)) for share in exact]
    while sum(spread) < blocks:
        stage = max(range(len(spread)), key=lambda i: exact[i] - spread[i])
        spread[stage] += 1
    while sum(spread) > blocks:
        spread[spread.index(max(spread))] -= 1
    first, second, third, fourth = spread
    return first, second, third, fourth
