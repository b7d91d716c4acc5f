"""What a model *is*: frozen values without a tensor in them. The named ones are in `diptych.zoo`.

Axis legend, used in the names of tensors everywhere (``tokens_BLD``):

    B batch    C channels or classes    H height or heads    W width of an image    N patches, or images of a data set
    L text tokens    D width of a tower    E embedding    T templates    K width of one head, or captions of an image
    M texts    P pairs of image and text    Q queries    G gallery, what queries are answered from
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from diptych.errors import ConfigError
from diptych.tower_specs import (
    BagOfWordsSpec,
    BertSpec,
    CaptionTransformerSpec,
    HuggingFaceImageSpec,
    HuggingFaceTextSpec,
    ModifiedResNetSpec,
    SiglipTextSpec,
    SiglipVisionSpec,
    TextTransformerSpec,
    TimmSpec,
    VisionTransformerSpec,
    positive,
)

# Mean and standard deviation of RGB in [0, 1] over CLIP's training images (paper page, section 1).
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LARGEST_IMAGE = 8192  # px; larger squares are taken for decompression bombs by what makes pixels of images
HALF = (0.5, 0.5, 0.5)  # SigLIP's mean and standard deviation: pixels from -1 to 1


@dataclass(frozen=True, kw_only=True)
class PreprocessSpec:
    """How an image becomes pixels: resize, centre crop to ``size``, scale to [0, 1], normalise.

    ``resize``: bring the short side to ``resize_to`` pixels and crop the centre, or squash both sides to it.
    ``resize_to``: by default ``size``; where it is more, the crop leaves out an edge all around.
    """

    size: int
    resize_to: int | None = None
    resize: Literal["shortest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def __post_init__(self) -> None:
        positive(self, "size")
        if max(self.size, self.resize_to or 0) > LARGEST_IMAGE:
            asked = max(self.size, self.resize_to or 0)
            raise ConfigError(f"PreprocessSpec makes images of at most {LARGEST_IMAGE:,} px, not {asked:,}")
        if self.resize_to is not None and self.resize_to < self.size:
            raise ConfigError(f"PreprocessSpec.resize_to ({self.resize_to}) must not be below size ({self.size})")
        if not all(map(math.isfinite, self.mean)) or not all(0 < value < math.inf for value in self.std):
            raise ConfigError(f"PreprocessSpec.mean must be finite and std positive, not {self.mean} and {self.std}")


ExternalImageSpec = TimmSpec | HuggingFaceImageSpec
TokenizerFamily = Literal["clip_byte_pair", "sentence_piece", "word_piece"]
ImageTowerSpec = VisionTransformerSpec | ModifiedResNetSpec | SiglipVisionSpec | ExternalImageSpec
TextTowerSpec = (
    TextTransformerSpec | SiglipTextSpec | BertSpec | BagOfWordsSpec | HuggingFaceTextSpec | CaptionTransformerSpec
)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Two towers, the space they share, and how images and texts enter them; or, where ``text`` is a
    ``caption_transformer``, an image tower and a language model that goes on from its embedding.

    ``embedding``: width of the joint space. ``tokenizer``: the family; its vocabulary travels in the bundle.
    ``scores``: whether cosine similarities compete (``softmax``), or each answers for itself (``sigmoid``, SigLIP),
    for which the model has a bias beside its scale.
    """

    name: str
    embedding: int
    image: ImageTowerSpec
    text: TextTowerSpec
    preprocess: PreprocessSpec
    tokenizer: TokenizerFamily = "clip_byte_pair"
    scores: Literal["softmax", "sigmoid"] = "softmax"

    def __post_init__(self) -> None:
        positive(self, "embedding")
        if isinstance(self.image, SiglipVisionSpec) and self.image.width != self.embedding:
            raise ConfigError(
                f"{self.name}: SigLIP's image tower has no projection, so embedding ({self.embedding}) must be "
                f"image.width ({self.image.width})"
            )
        if self.preprocess.size != self.image.image_size:
            raise ConfigError(
                f"{self.name}: preprocessing gives {self.preprocess.size} px, the image tower expects "
                f"{self.image.image_size} px; preprocess.size and image.image_size must be equal"
            )

    @classmethod
    def named(cls, name: str) -> ModelSpec:
        """One of `diptych.zoo`, so that configurations may give a name; ConfigError where there is none."""
        from diptych import zoo

        return zoo.find(name)

    def with_image_size(self, size: int) -> ModelSpec:
        """The same model at another resolution (its position embeddings will have to be resized)."""
        image = dataclasses.replace(self.image, image_size=size)
        preprocess = dataclasses.replace(self.preprocess, size=size, resize_to=None)
        return dataclasses.replace(self, image=image, preprocess=preprocess)

    def with_vocabulary(
        self,
        size: int,
        context_length: int | None = None,
        *,
        tokenizer: TokenizerFamily = "clip_byte_pair",
        padding_id: int = 0,
    ) -> ModelSpec:
        """The same model over another vocabulary and, where given, another context length."""
        text = dataclasses.replace(
            self.text, vocabulary_size=size, context_length=context_length or self.text.context_length
        )
        if isinstance(text, SiglipTextSpec | HuggingFaceTextSpec):
            text = dataclasses.replace(text, padding_id=padding_id)
        return dataclasses.replace(self, text=text, tokenizer=tokenizer)
