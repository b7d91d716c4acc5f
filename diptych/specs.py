"""What a model *is*: frozen values without a tensor in them, and the one named table.

Axis legend, used in the names of tensors everywhere (``tokens_BLD``):

    B batch    C channels or classes    H height or heads    W width of an image    N patches, or images of a data set
    L text tokens    D width of a tower    E embedding    T templates    K width of one head, or captions of an image
    M texts    P pairs of image and text    Q queries    G gallery, what queries are answered from
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Literal

from diptych.errors import ConfigError, nearest

Activation = Literal["gelu", "quick_gelu"]

# Mean and standard deviation of RGB in [0, 1] over CLIP's training images (paper page, section 1).
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


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

    def __post_init__(self) -> None:
        _positive(self, "image_size", "patch_size", "width", "layers", "heads", "mlp_ratio")
        _divides(self, "width", "heads")
        _divides(self, "image_size", "patch_size")


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
        _positive(self, "image_size", "stem_width", "heads")
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
class TextTransformerSpec:
    """A causal, pre-norm Transformer read out at the end token (paper, section 2.4)."""

    kind: Literal["text_transformer"] = "text_transformer"
    context_length: int = 77
    vocabulary_size: int = 49_408
    width: int
    layers: int
    heads: int
    mlp_ratio: float = 4.0
    activation: Activation = "quick_gelu"

    def __post_init__(self) -> None:
        _positive(self, "context_length", "vocabulary_size", "width", "layers", "heads", "mlp_ratio")
        _divides(self, "width", "heads")


@dataclass(frozen=True, kw_only=True)
class PreprocessSpec:
    """How an image becomes pixels: resize, centre crop to ``size``, scale to [0, 1], normalise.

    ``resize``: bring the short side to ``size`` and crop the centre, or squash both sides to ``size``.
    """

    size: int
    resize: Literal["shortest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def __post_init__(self) -> None:
        _positive(self, "size")
        if min(self.std) <= 0:
            raise ConfigError(f"PreprocessSpec.std must be positive, not {self.std}")


ImageTowerSpec = VisionTransformerSpec | ModifiedResNetSpec
TextTowerSpec = TextTransformerSpec


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Two towers, the space they share, and how images and texts enter them.

    ``embedding``: width of the joint space. ``tokenizer``: the family; its vocabulary travels in the bundle.
    """

    name: str
    embedding: int
    image: ImageTowerSpec
    text: TextTowerSpec
    preprocess: PreprocessSpec
    tokenizer: Literal["clip_byte_pair"] = "clip_byte_pair"

    def __post_init__(self) -> None:
        _positive(self, "embedding")
        if self.preprocess.size != self.image.image_size:
            raise ConfigError(
                f"{self.name}: preprocessing gives {self.preprocess.size} px, the image tower expects "
                f"{self.image.image_size} px; preprocess.size and image.image_size must be equal"
            )

    def with_image_size(self, size: int) -> ModelSpec:
        """The same model at another resolution (its position embeddings will have to be resized)."""
        image = dataclasses.replace(self.image, image_size=size)
        preprocess = dataclasses.replace(self.preprocess, size=size)
        return dataclasses.replace(self, image=image, preprocess=preprocess)

    def with_vocabulary(self, size: int, context_length: int | None = None) -> ModelSpec:
        """The same model over another vocabulary and, where given, another context length."""
        text = dataclasses.replace(
            self.text, vocabulary_size=size, context_length=context_length or self.text.context_length
        )
        return dataclasses.replace(self, text=text)


def _positive(spec: object, *fields: str) -> None:
    for field in fields:
        if getattr(spec, field) <= 0:
            raise ConfigError(f"{type(spec).__name__}.{field} must be positive, not {getattr(spec, field)}")


def _divides(spec: object, whole: str, part: str) -> None:
    if getattr(spec, whole) % getattr(spec, part):
        raise ConfigError(
            f"{type(spec).__name__}.{part} ({getattr(spec, part)}) must divide {whole} ({getattr(spec, whole)})"
        )


def _resnet(
    name: str, embedding: int, px: int, layers: tuple[int, int, int, int], stem: int, text: TextTransformerSpec
) -> ModelSpec:
    return ModelSpec(
        name=name,
        embedding=embedding,
        image=ModifiedResNetSpec(image_size=px, layers=layers, stem_width=stem, heads=stem // 2),
        text=text,
        preprocess=PreprocessSpec(size=px),
    )


def _vit(name: str, embedding: int, px: int, patch: int, layers: int, width: int, text: int) -> ModelSpec:
    return ModelSpec(
        name=name,
        embedding=embedding,
        image=VisionTransformerSpec(image_size=px, patch_size=patch, width=width, layers=layers, heads=width // 64),
        text=_text(text),
        preprocess=PreprocessSpec(size=px),
    )


def _text(width: int) -> TextTransformerSpec:
    return TextTransformerSpec(width=width, layers=12, heads=width // 64)


def _small_text(context_length: int, layers: int) -> TextTransformerSpec:
    return TextTransformerSpec(context_length=context_length, width=128, layers=layers, heads=4)


# The nine released models (paper, tables 19 and 20; activations and sizes of the released weights), then small ones.
MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        _resnet("RN50", 1024, 224, (3, 4, 6, 3), 64, _text(512)),
        _resnet("RN101", 512, 224, (3, 4, 23, 3), 64, _text(512)),
        _resnet("RN50x4", 640, 288, (4, 6, 10, 6), 80, _text(640)),
        _resnet("RN50x16", 768, 384, (6, 8, 18, 8), 96, _text(768)),
        _resnet("RN50x64", 1024, 448, (3, 15, 36, 10), 128, _text(1024)),
        _vit("ViT-B/32", 512, 224, 32, 12, 768, 512),
        _vit("ViT-B/16", 512, 224, 16, 12, 768, 512),
        _vit("ViT-L/14", 768, 224, 14, 24, 1024, 768),
        _vit("ViT-L/14@336px", 768, 336, 14, 24, 1024, 768),
        # Of equal cost on a processor: more channels for drawings, more pixels for photographs (docs/LOG.md).
        _resnet("RN-mini", 256, 64, (2, 2, 2, 2), 32, _small_text(48, 2)),
        _resnet("RN-mini@96px", 256, 96, (2, 2, 2, 2), 24, _small_text(48, 2)),
        _resnet("RN-micro", 128, 64, (1, 1, 1, 1), 16, _small_text(32, 1)),
    )
}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("px")


def find(name: str) -> ModelSpec:
    """The spec of a named model; case, dashes, slashes and a final ``px`` do not matter.

    Raises ConfigError with the nearest name where there is none.

    >>> find("vit-b-32") is MODELS["ViT-B/32"]
    True
    """
    for spec in MODELS.values():
        if _plain(spec.name) == _plain(name):
            return spec
    raise ConfigError(f"no model is called {name!r}; {nearest(name, MODELS)}")
