"""Modules whose tensors are named as in OpenAI's archives, written to be scripted: what the archives are made from.

They compute what CLIP computes, with PyTorch's own attention layers, so an archive is also an independent reference.
"""

import warnings
from collections import OrderedDict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from twins import renames

from diptych.specs import ModelSpec, ModifiedResNetSpec, VisionTransformerSpec


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, activation: nn.Module, length: int | None) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, hidden), gelu=activation, c_proj=nn.Linear(hidden, width))
        )
        triangle = torch.full((length or 1, length or 1), float("-inf")).triu_(1)
        self.attn_mask = triangle if length else None  # a plain attribute, as in OpenAI's

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=self.attn_mask)[0]
        return x + self.mlp(self.ln_2(x))


class Blocks(nn.Module):
    def __init__(self, spec, length: int | None) -> None:
        super().__init__()
        hidden = int(spec.width * spec.mlp_ratio)
        made = (QuickGELU() if spec.activation == "quick_gelu" else nn.GELU() for _ in range(spec.layers))
        self.resblocks = nn.Sequential(*(Block(spec.width, spec.heads, hidden, act, length) for act in made))

    def forward(self, x: Tensor) -> Tensor:
        return self.resblocks(x)


class VisualTransformer(nn.Module):
    def __init__(self, spec: VisionTransformerSpec, embedding: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, spec.width, spec.patch_size, spec.patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(spec.width))
        self.positional_embedding = nn.Parameter(torch.zeros((spec.image_size // spec.patch_size) ** 2 + 1, spec.width))
        self.ln_pre, self.ln_post = nn.LayerNorm(spec.width), nn.LayerNorm(spec.width)
        self.transformer = Blocks(spec, None)
        self.proj = nn.Parameter(torch.zeros(spec.width, embedding))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x).flatten(2).permute(0, 2, 1)
        x = torch.cat([self.class_embedding.repeat(x.shape[0], 1, 1), x], dim=1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(x))[:, 0]) @ self.proj


class Bottleneck(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(stride)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or channels != 4 * width:
            shortcut = nn.Conv2d(channels, 4 * width, 1, bias=False)
            self.downsample = nn.Sequential(
                OrderedDict([("-1", nn.AvgPool2d(stride)), ("0", shortcut), ("1", nn.BatchNorm2d(4 * width))])
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.avgpool(F.relu(self.bn2(self.conv2(y))))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class AttentionPool(nn.Module):
    def __init__(self, positions: int, width: int, heads: int, embedding: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.zeros(positions + 1, width))
        self.k_proj, self.q_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = nn.Linear(width, embedding)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).permute(0, 2, 1)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + self.positional_embedding
        q, k, v = self.split(self.q_proj(x[:, :1])), self.split(self.k_proj(x)), self.split(self.v_proj(x))
        weights = torch.softmax(q @ k.transpose(2, 3) / float(q.shape[3]) ** 0.5, dim=3)
        return self.c_proj((weights @ v).transpose(1, 2).flatten(1))

    def split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)


class ModifiedResNet(nn.Module):
    def __init__(self, spec: ModifiedResNetSpec, embedding: int) -> None:
        super().__init__()
        stem = spec.stem_width
        self.conv1, self.bn1 = nn.Conv2d(3, stem // 2, 3, 2, 1, bias=False), nn.BatchNorm2d(stem // 2)
        self.conv2, self.bn2 = nn.Conv2d(stem // 2, stem // 2, 3, 1, 1, bias=False), nn.BatchNorm2d(stem // 2)
        self.conv3, self.bn3 = nn.Conv2d(stem // 2, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem)
        self.layer1 = self.stage(stem, stem, spec.layers[0], 1)
        self.layer2 = self.stage(4 * stem, 2 * stem, spec.layers[1], 2)
        self.layer3 = self.stage(8 * stem, 4 * stem, spec.layers[2], 2)
        self.layer4 = self.stage(16 * stem, 8 * stem, spec.layers[3], 2)
        self.attnpool = AttentionPool((spec.image_size // 32) ** 2, spec.width, spec.heads, embedding)

    @staticmethod
    def stage(channels: int, width: int, depth: int, stride: int) -> nn.Sequential:
        rest = [Bottleneck(4 * width, width, 1) for _ in range(depth - 1)]
        return nn.Sequential(Bottleneck(channels, width, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.avg_pool2d(F.relu(self.bn3(self.conv3(x))), 2)
        return self.attnpool(self.layer4(self.layer3(self.layer2(self.layer1(x)))))


class OpenAICLIP(nn.Module):
    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        if isinstance(spec.image, ModifiedResNetSpec):
            self.visual: nn.Module = ModifiedResNet(spec.image, spec.embedding)
        else:
            self.visual = VisualTransformer(spec.image, spec.embedding)
        self.transformer = Blocks(spec.text, spec.text.context_length)
        self.token_embedding = nn.Embedding(spec.text.vocabulary_size, spec.text.width)
        self.positional_embedding = nn.Parameter(torch.zeros(spec.text.context_length, spec.text.width))
        self.ln_final = nn.LayerNorm(spec.text.width)
        self.text_projection = nn.Parameter(torch.zeros(spec.text.width, spec.embedding))
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.register_buffer("input_resolution", torch.tensor(spec.image.image_size))
        self.register_buffer("context_length", torch.tensor(spec.text.context_length))
        self.register_buffer("vocab_size", torch.tensor(spec.text.vocabulary_size))

    def forward(self, pixels: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        x = self.transformer(self.token_embedding(ids) + self.positional_embedding)
        x = self.ln_final(x[torch.arange(x.shape[0]), ids.argmax(dim=1)])
        return self.visual(pixels), x @ self.text_projection


def openai_model(spec: ModelSpec, weights: dict[str, Tensor]) -> OpenAICLIP:
    """The model in OpenAI's layout with our weights."""
    model = OpenAICLIP(spec).eval()
    names = renames(spec)
    numbers = {name: getattr(model, name) for name in ("input_resolution", "context_length", "vocab_size")}
    state = {names[name]: tensor for name, tensor in weights.items()} | numbers
    model.load_state_dict(state)
    return model


def save_archive(model: OpenAICLIP, path: Path, *, half: bool = False, trace: bool = False) -> Path:
    """A TorchScript archive; ``half`` stores matrices in fp16 and leaves gains in fp32, as the released ones do."""
    if half:
        for parameter in model.parameters():
            parameter.data = parameter.data.half() if parameter.ndim > 1 else parameter.data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; archives of it are not going away
        if trace:
            size = int(model.input_resolution)
            ids = torch.randint(0, int(model.vocab_size), (2, int(model.context_length)))
            torch.jit.trace(model, (torch.randn(2, 3, size, size), ids)).save(str(path))
        else:
            torch.jit.script(model).save(str(path))
    return path
