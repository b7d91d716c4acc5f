"""What each kind of tower *is*: frozen values, told apart by their ``kind``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from diptych.errors import ConfigError

Activation = Literal["gelu", "quick_gelu", "gelu_tanh"]


@dataclass(frozen=True, kw_only=True)
class VisionTransformerSpec:
    """A pre-norm Vision Transformer with one extra LayerNorm before its blocks (paper, section 2.4).

    ``pooling``: the embedding comes from the class token, or from the average of the patch tokens.
    """

    kind: Literal["vision_transformer"] = "vision_transformer"
    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    mlp_ratio: float = 4.0
    activation: Activation = "quick_gelu"
    pooling: Literal["class_token", "average"] = "class_token"
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        positive(self, "image_size", "patch_size", "width", "layers", "heads", "mlp_ratio", "norm_epsilon")
        transformer(self)
        divides(self, "image_size", "patch_size")


@dataclass(frozen=True, kw_only=True)
class ModifiedResNetSpec:
    """ResNet-D stem, anti-aliased strides, attention pooling (paper, section 2.4). ``stem_width`` is a quarter of
    the first stage's output; the last stage gives 32 times it."""

    kind: Literal["modified_resnet"] = "modified_resnet"
    image_size: int
    layers: tuple[int, int, int, int]
    stem_width: int
    heads: int

    def __post_init__(self) -> None:
        positive(self, "image_size", "stem_width", "heads")
        if len(self.layers) != 4 or min(self.layers) < 1:
            raise ConfigError(f"ModifiedResNetSpec.layers must be four positive numbers, not {self.layers}")
        if self.stem_width % 2:
            raise ConfigError(f"ModifiedResNetSpec.stem_width must be even, not {self.stem_width}")
        if self.image_size % 32:
            raise ConfigError(f"ModifiedResNetSpec.image_size must be a multiple of 32, not {self.image_size}")
        if self.width % self.heads:
            raise ConfigError(f"ModifiedResNetSpec.heads ({self.heads}) must divide 32 * stem_width ({self.width})")

    @property
    def width(self) -> int:
        """Channels of the last stage's output."""
        return 32 * self.stem_width


@dataclass(frozen=True, kw_only=True)
class _CausalTransformer:
    """What the two causal, pre-norm Transformers over texts have in common."""

    kind: str
    context_length: int = 77
    vocabulary_size: int = 49_408
    width: int
    layers: int
    heads: int
    mlp_ratio: float = 4.0
    activation: Activation = "quick_gelu"
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        positive(self, "context_length", "vocabulary_size", "width", "layers", "heads", "mlp_ratio", "norm_epsilon")
        transformer(self)


@dataclass(frozen=True, kw_only=True)
class TextTransformerSpec(_CausalTransformer):
    """A causal, pre-norm Transformer read out at the end token (paper, section 2.4)."""

    kind: Literal["text_transformer"] = "text_transformer"


@dataclass(frozen=True, kw_only=True)
class CaptionTransformerSpec(_CausalTransformer):
    """A causal Transformer that writes the caption of an image, whose embedding it reads in place of the start token:
    the language model that the paper began with (section 2.3). A model that has it embeds no texts."""

    kind: Literal["caption_transformer"] = "caption_transformer"


@dataclass(frozen=True, kw_only=True)
class SiglipVisionSpec:
    """SigLIP's image tower: a Vision Transformer without class token whose patches are pooled by attention to a learned
    query (arXiv 2303.15343). Its embedding is as wide as the tower; what a patch does not fill at the right and bottom
    edge is not seen."""

    kind: Literal["siglip_vision"] = "siglip_vision"
    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    mlp_ratio: float = 4.0
    activation: Activation = "gelu_tanh"
    norm_epsilon: float = 1e-6

    def __post_init__(self) -> None:
        positive(self, "image_size", "patch_size", "width", "layers", "heads", "mlp_ratio", "norm_epsilon")
        transformer(self)
        if self.patch_size > self.image_size:
            raise ConfigError(f"SiglipVisionSpec.patch_size ({self.patch_size}) exceeds image_size ({self.image_size})")


@dataclass(frozen=True, kw_only=True)
class SiglipTextSpec:
    """SigLIP's text tower: every token sees every other, padding included, so texts are always padded to
    ``context_length`` with ``padding_id``; read out at the last place (arXiv 2303.15343)."""

    kind: Literal["siglip_text"] = "siglip_text"
    context_length: int = 64
    vocabulary_size: int = 32_000
    padding_id: int = 1
    width: int
    layers: int
    heads: int
    mlp_ratio: float = 4.0
    activation: Activation = "gelu_tanh"
    norm_epsilon: float = 1e-6

    def __post_init__(self) -> None:
        positive(self, "context_length", "vocabulary_size", "width", "layers", "heads", "mlp_ratio", "norm_epsilon")
        transformer(self)
        if not 0 <= self.padding_id < self.vocabulary_size:
            raise ConfigError(
                f"SiglipTextSpec.padding_id ({self.padding_id}) is none of the {self.vocabulary_size} tokens"
            )


@dataclass(frozen=True, kw_only=True)
class BertSpec:
    """BERT as a text tower, read out at its first token (Chinese-CLIP, arXiv 2211.01335; BERT, arXiv 1810.04805).

    ``positions``: position embeddings there are, at least as many as texts may be long.
    """

    kind: Literal["bert"] = "bert"
    context_length: int = 52
    positions: int = 512
    vocabulary_size: int = 21_128
    width: int
    layers: int
    heads: int
    mlp_ratio: float = 4.0
    activation: Activation = "gelu"
    norm_epsilon: float = 1e-12

    def __post_init__(self) -> None:
        positive(self, "context_length", "vocabulary_size", "width", "layers", "heads", "mlp_ratio", "norm_epsilon")
        transformer(self)
        if self.context_length > self.positions:
            raise ConfigError(f"BertSpec.context_length ({self.context_length}) exceeds positions ({self.positions})")


@dataclass(frozen=True, kw_only=True)
class BagOfWordsSpec:
    """Continuous bag of words: the mean of the embeddings of a text's tokens, normalised and projected (paper,
    figure 3)."""

    kind: Literal["bag_of_words"] = "bag_of_words"
    context_length: int = 77
    vocabulary_size: int = 49_408
    width: int

    def __post_init__(self) -> None:
        positive(self, "context_length", "vocabulary_size", "width")


Projection = Literal["none", "linear", "mlp"]


@dataclass(frozen=True, kw_only=True)
class TimmSpec:
    """An image tower of timm by its name there; ``width`` features of an image are projected.

    ``pooling``: ``own``, the features that the architecture's own classifier would see; or ``mean``, the last stage of
    a convolutional network averaged, without the layers that some have after it.
    """

    kind: Literal["timm"] = "timm"
    name: str
    image_size: int
    width: int
    pooling: Literal["own", "mean"] = "own"
    projection: Projection = "linear"

    def __post_init__(self) -> None:
        positive(self, "image_size", "width")


@dataclass(frozen=True, kw_only=True)
class HuggingFaceImageSpec:
    """An image encoder of Transformers: the ``model_type`` of its config, and what its config says besides.

    ``pooling``: the first token, or the mean of all places.
    """

    kind: Literal["huggingface_image"] = "huggingface_image"
    architecture: str
    image_size: int
    width: int
    options: dict[str, Any]
    pooling: Literal["first", "mean"] = "first"
    projection: Projection = "linear"

    def __post_init__(self) -> None:
        positive(self, "image_size", "width")


@dataclass(frozen=True, kw_only=True)
class HuggingFaceTextSpec:
    """A text encoder of Transformers: the ``model_type`` of its config, and what its config says besides.

    ``pooling``: the first token, or the mean or maximum of all that are no padding.
    """

    kind: Literal["huggingface_text"] = "huggingface_text"
    architecture: str
    context_length: int
    vocabulary_size: int
    width: int
    options: dict[str, Any]
    padding_id: int = 0
    pooling: Literal["first", "mean", "max"] = "first"
    projection: Projection = "linear"

    def __post_init__(self) -> None:
        positive(self, "context_length", "vocabulary_size", "width")


def positive(spec: object, *fields: str) -> None:
    """ConfigError that names a field that is not."""
    for field in fields:
        if not 0 < getattr(spec, field) < math.inf:
            raise ConfigError(f"{type(spec).__name__}.{field} must be positive, not {getattr(spec, field)}")


def divides(spec: object, whole: str, part: str) -> None:
    """ConfigError that names both fields where one is no multiple of the other."""
    if getattr(spec, whole) % getattr(spec, part):
        raise ConfigError(
            f"{type(spec).__name__}.{part} ({getattr(spec, part)}) must divide {whole} ({getattr(spec, whole)})"
        )


def transformer(spec: Any) -> None:
    """ConfigError for a width that is not divided by the heads, or for layers between two of which nothing is left."""
    divides(spec, "width", "heads")
    if spec.width * spec.mlp_ratio < 1:
        raise ConfigError(f"{type(spec).__name__}.mlp_ratio ({spec.mlp_ratio}) leaves nothing of width ({spec.width})")
