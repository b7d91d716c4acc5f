"""Modified ResNet image tower: ResNet-D stem, anti-aliased strides, attention pooling (paper, section 2.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.models.layers import attend, fan_in_uniform
from diptych.models.tower import ImageTower, Intermediates, TowerOutput
from diptych.specs import ModifiedResNetSpec


def _pool(stride: int) -> nn.Module:
    return nn.AvgPool2d(stride) if stride > 1 else nn.Identity()


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions; a stride is an average pool before the last one, on the shortcut as well."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.pool = _pool(stride)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(4 * width)
        self.shortcut: nn.Sequential | None = None
        if stride > 1 or channels != 4 * width:
            self.shortcut = nn.Sequential(
                _pool(stride), nn.Conv2d(channels, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out_BCHW = F.relu(self.norm1(self.conv1(x_BCHW)))
        out_BCHW = F.relu(self.norm2(self.conv2(out_BCHW)))
        out_BCHW = self.norm3(self.conv3(self.pool(out_BCHW)))
        if self.shortcut is not None:
            x_BCHW = self.shortcut(x_BCHW)
        return F.relu(out_BCHW + x_BCHW)


class AttentionPool(nn.Module):
    """One attention layer whose only query is the mean feature; the keys are the mean and every position."""

    def __init__(self, positions: int, width: int, heads: int, embedding: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.empty(1 + positions, width))
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, embedding)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BND = x_BCHW.flatten(2).transpose(1, 2)
        x_BND = torch.cat([x_BND.mean(dim=1, keepdim=True), x_BND], dim=1)
        x_BND = x_BND + self.positional_embedding.to(x_BND.dtype)
        q_BHNK = self._heads(self.query(x_BND[:, :1]))
        k_BHNK, v_BHNK = self._heads(self.key(x_BND)), self._heads(self.value(x_BND))
        return self.output(attend(q_BHNK, k_BHNK, v_BHNK).flatten(1))

    def _heads(self, x_BND: Tensor) -> Tensor:
        return x_BND.unflatten(2, (self.heads, -1)).transpose(1, 2)


class ModifiedResNet(ImageTower):
    """``pixels_BCHW`` to ``embedding_BE``; the attention pool projects into the joint space.

    Intermediates: ``grid`` (B, C, H / 32, W / 32), the last stage's output; ``features`` (B, E), what attention
    pooling gives, which is the embedding itself (paper, appendix A).
    """

    intermediates = ("grid", "features")

    def __init__(self, spec: ModifiedResNetSpec, embedding: int) -> None:
        super().__init__()
        self.spec = spec
        stem = spec.stem_width
        self.stem = nn.Sequential(
            *self._stem_layer(3, stem // 2, 2),
            *self._stem_layer(stem // 2, stem // 2, 1),
            *self._stem_layer(stem // 2, stem, 1),
            nn.AvgPool2d(2),
        )
        stages, channels = [], stem
        for i, depth in enumerate(spec.layers):
            width = stem * 2**i
            blocks = [Bottleneck(channels, width, stride=1 if i == 0 else 2)]
            blocks += [Bottleneck(4 * width, width, stride=1) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            channels = 4 * width
        self.stages = nn.Sequential(*stages)
        self.attention_pool = AttentionPool((spec.image_size // 32) ** 2, spec.width, spec.heads, embedding)

    @staticmethod
    def _stem_layer(channels: int, width: int, stride: int) -> tuple[nn.Module, ...]:
        convolution = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        return convolution, nn.BatchNorm2d(width), nn.ReLU()

    def forward(self, pixels_BCHW: Tensor, keep: Sequence[str] = ()) -> TowerOutput:
        kept = Intermediates(keep, self.intermediates)
        grid_BCHW = self.stages(self.stem(pixels_BCHW))
        kept.offer("grid", grid_BCHW)
        embedding_BE = self.attention_pool(grid_BCHW)
        kept.offer("features", embedding_BE)
        return embedding_BE, kept

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Convolutions as PyTorch; attention pool std in_features^-0.5; each residual block starts as its shortcut."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                fan_in_uniform(module, generator)
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.norm3.weight)
        pool, scale = self.attention_pool, self.spec.width**-0.5
        pool.positional_embedding.normal_(0, scale, generator=generator)
        for linear in (pool.query, pool.key, pool.value, pool.output):
            linear.weight.normal_(0, scale, generator=generator)
