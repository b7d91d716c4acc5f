"""Towers of other libraries: any image tower of timm, any text encoder of Transformers. Both are extras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diptych.errors import ConfigError, DiptychError
from diptych.models.layers import fan_in_uniform
from diptych.models.libraries import library, timm_model, transformers_config, transformers_model
from diptych.models.tower import ImageTower, Intermediates, TextTower, TowerOutput
from diptych.specs import HuggingFaceImageSpec, HuggingFaceTextSpec, TimmSpec
from diptych.tokens import Tokens
from diptych.tower_specs import Projection


class TimmTower(ImageTower):
    """``pixels_BCHW`` to ``embedding_BE`` by an architecture of timm, pooled and projected.

    Intermediates: ``last``, what is pooled, (B, C, H, W) or (B, N, C); ``features`` (B, C), pooled.
    """

    intermediates = ("last", "features")
    trunk: Any  # timm's models have methods that modules have not

    def __init__(self, spec: TimmSpec, embedding: int) -> None:
        super().__init__()
        self.spec = spec
        self.trunk, width = _timm_model(spec)
        if width != spec.width:
            raise ConfigError(f"{spec.name} gives features of width {width}, but TimmSpec.width is {spec.width}")
        self.projection = projection(spec.projection, width, embedding)

    def forward(self, pixels_BCHW: Tensor, keep: Sequence[str] = ()) -> TowerOutput:
        kept = Intermediates(keep, self.intermediates)
        if self.spec.pooling == "own":
            last = self.trunk.forward_features(pixels_BCHW)
            features_BC = self.trunk.forward_head(last, pre_logits=True)
        else:
            [last] = self.trunk(pixels_BCHW)
            features_BC = last.mean(dim=(2, 3))
        kept.offer("last", last)
        kept.offer("features", features_BC)
        return self.projection(features_BC), kept

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """The trunk keeps what its library drew; the projection as PyTorch initialises it."""
        initialise_projection(self.projection, generator)


class HuggingFaceImage(ImageTower):
    """``pixels_BCHW`` to ``embedding_BE`` by an image encoder of Transformers, pooled and projected.

    Intermediates: ``tokens`` (B, N, D), the last hidden state; ``features`` (B, D), pooled.
    """

    intermediates = ("tokens", "features")

    def __init__(self, spec: HuggingFaceImageSpec, embedding: int) -> None:
        super().__init__()
        self.spec = spec
        self.trunk = transformers_model(transformers_config(spec.architecture, spec.options, hidden_size=spec.width))
        self.projection = projection(spec.projection, spec.width, embedding)

    def forward(self, pixels_BCHW: Tensor, keep: Sequence[str] = ()) -> TowerOutput:
        kept = Intermediates(keep, self.intermediates)
        x_BND = self.trunk(pixel_values=pixels_BCHW).last_hidden_state
        if x_BND.ndim == 4:  # of a convolutional network: a grid, channels first
            x_BND = x_BND.flatten(2).transpose(1, 2)
        kept.offer("tokens", x_BND)
        features_BD = x_BND[:, 0] if self.spec.pooling == "first" else x_BND.mean(dim=1)
        kept.offer("features", features_BD)
        return self.projection(features_BD), kept

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """The trunk keeps what its library drew; the projection as PyTorch initialises it."""
        initialise_projection(self.projection, generator)


class HuggingFaceText(TextTower):
    """``Tokens`` to ``embedding_BE`` by a text encoder of Transformers, pooled and projected.

    Intermediates: ``tokens`` (B, L, D), the last hidden state; ``features`` (B, D), pooled.
    """

    intermediates = ("tokens", "features")

    def __init__(self, spec: HuggingFaceTextSpec, embedding: int) -> None:
        super().__init__()
        self.spec = spec
        sizes = {"vocab_size": spec.vocabulary_size, "hidden_size": spec.width}
        config = transformers_config(spec.architecture, spec.options, **sizes)
        most = config.to_dict().get("max_position_embeddings")
        if isinstance(most, int) and most < spec.context_length:
            raise ConfigError(
                f"a {spec.architecture} of {most} positions takes no texts of {spec.context_length} tokens; give it "
                "a larger options.max_position_embeddings or a smaller context_length"
            )
        self.trunk = transformers_model(config)
        self.projection = projection(spec.projection, spec.width, embedding)

    def forward(self, tokens: Tokens, keep: Sequence[str] = ()) -> TowerOutput:
        kept = Intermediates(keep, self.intermediates)
        longest = tokens.longest
        inside_BL = torch.arange(longest, device=tokens.ids_BL.device) < tokens.lengths_B[:, None]
        outputs = self.trunk(input_ids=tokens.ids_BL[:, :longest], attention_mask=inside_BL.long())
        x_BLD = outputs.last_hidden_state
        kept.offer("tokens", x_BLD)
        features_BD = self._pooled(x_BLD, inside_BL[..., None])
        kept.offer("features", features_BD)
        return self.projection(features_BD), kept

    def _pooled(self, x_BLD: Tensor, inside_BL1: Tensor) -> Tensor:
        if self.spec.pooling == "first":
            return x_BLD[:, 0]
        if self.spec.pooling == "max":
            return x_BLD.masked_fill(~inside_BL1, -torch.inf).amax(dim=1)
        return (x_BLD * inside_BL1).sum(dim=1) / inside_BL1.sum(dim=1)

    def lengths(self, ids_BL: Tensor) -> Tensor:
        """Of bare ids, padded with ``spec.padding_id``."""
        return (ids_BL != self.spec.padding_id).sum(dim=1)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """The trunk keeps what its library drew; the projection as PyTorch initialises it."""
        initialise_projection(self.projection, generator)


def _timm_model(spec: TimmSpec) -> tuple[Any, int]:
    """The architecture without its classifier, and the width of its features."""
    try:
        if spec.pooling == "mean":
            trunk = timm_model(spec.name, {}, features_only=True, out_indices=(-1,))
            return trunk, trunk.feature_info.channels()[-1]
        # Some are made for one size of images and have to be told; convolutional networks take any.
        fixed = getattr(library("timm", "timm").get_pretrained_cfg(spec.name), "fixed_input_size", False)
        trunk = timm_model(spec.name, {}, num_classes=0, **({"img_size": spec.image_size} if fixed else {}))
        return trunk, trunk.head_hidden_size
    except DiptychError:
        raise
    except Exception as error:  # a tag that timm does not know, a model that is no encoder of images
        raise ConfigError(f"timm cannot make {spec.name!r:.80}: {error!s:.300}") from error


def projection(kind: Projection, width: int, embedding: int) -> nn.Module:
    """Into the joint space: not at all, one matrix, or two around a ReLU (ConVIRT, arXiv 2010.00747)."""
    if kind == "none":
        if width != embedding:
            raise ConfigError(f"without a projection the embedding ({embedding}) is as wide as the features ({width})")
        return nn.Identity()
    if kind == "linear":
        return nn.Linear(width, embedding)
    return nn.Sequential(nn.Linear(width, embedding), nn.ReLU(), nn.Linear(embedding, embedding))


@torch.no_grad()
def initialise_projection(projection: nn.Module, generator: torch.Generator) -> None:
    """Its linear layers as PyTorch's default, drawn from ``generator``."""
    for module in projection.modules():
        if isinstance(module, nn.Linear):
            fan_in_uniform(module, generator)
