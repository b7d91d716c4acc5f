"""The named models: one literal table."""

from __future__ import annotations

import dataclasses
import re

from diptych.errors import ConfigError, nearest
from diptych.specs import (
    HALF,
    IMAGENET_MEAN,
    IMAGENET_STD,
    BertSpec,
    HuggingFaceTextSpec,
    ModelSpec,
    ModifiedResNetSpec,
    PreprocessSpec,
    SiglipTextSpec,
    SiglipVisionSpec,
    TextTransformerSpec,
    TimmSpec,
    VisionTransformerSpec,
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


def _siglip(name: str, px: int, patch: int, size: tuple[int, int, int, float], *, second: bool = False) -> ModelSpec:
    width, layers, heads, ratio = size
    image = SiglipVisionSpec(image_size=px, patch_size=patch, width=width, layers=layers, heads=heads, mlp_ratio=ratio)
    text = SiglipTextSpec(
        vocabulary_size=256_000 if second else 32_000,
        padding_id=0 if second else 1,
        width=width,
        layers=layers,
        heads=heads,
        mlp_ratio=ratio,
    )
    return ModelSpec(
        name=name,
        embedding=width,
        image=image,
        text=text,
        preprocess=PreprocessSpec(size=px, resize="squash", mean=HALF, std=HALF),
        tokenizer="sentence_piece",
        scores="sigmoid",
    )


_BASE, _LARGE, _SO400M = (768, 12, 12, 4.0), (1024, 24, 16, 4.0), (1152, 27, 16, 4304 / 1152)


def _chinese(name: str, like: ModelSpec, text_layers: int) -> ModelSpec:
    """Chinese-CLIP's: the image tower of a released model, and a Chinese RoBERTa, which is BERT in another training."""
    return dataclasses.replace(
        like,
        name=name,
        text=BertSpec(width=768, layers=text_layers, heads=12),
        preprocess=dataclasses.replace(like.preprocess, resize="squash"),
        tokenizer="word_piece",
    )


def _align() -> ModelSpec:
    """EfficientNet-L2 without its last 1x1 convolution, and BERT-Large (arXiv 2102.05918, section 5)."""
    return ModelSpec(
        name="ALIGN",
        embedding=1376,
        image=TimmSpec(name="tf_efficientnet_l2", image_size=289, width=1376, pooling="mean", projection="none"),
        text=BertSpec(context_length=64, vocabulary_size=100_000, width=1024, layers=24, heads=16),
        preprocess=PreprocessSpec(size=289, mean=HALF, std=HALF),
        tokenizer="word_piece",
    )


def _convirt() -> ModelSpec:
    """ResNet-50 and BERT, maxima over its tokens, both through a hidden layer (arXiv 2010.00747, section 2.2)."""
    text = HuggingFaceTextSpec(
        architecture="bert",
        context_length=128,
        vocabulary_size=28_996,
        width=768,
        options={"num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
        pooling="max",
        projection="mlp",
    )
    return ModelSpec(
        name="ConVIRT",
        embedding=512,
        image=TimmSpec(name="resnet50", image_size=224, width=2048, projection="mlp"),
        text=text,
        preprocess=PreprocessSpec(size=224, mean=IMAGENET_MEAN, std=IMAGENET_STD),
        tokenizer="word_piece",
    )


def _clipa() -> ModelSpec:
    """CLIPA's L/16, whose patches are averaged and whose texts are 16 tokens (arXiv 2305.07017); its positions are
    learned here, where the authors' are fixed sines."""
    large = _vit("CLIPA-L/16", 768, 224, 16, 24, 1024, 768)
    image = dataclasses.replace(large.image, pooling="average", activation="gelu")
    text = dataclasses.replace(large.text, context_length=16, activation="gelu")
    return dataclasses.replace(large, image=image, text=text)


_RN50 = _resnet("RN50", 1024, 224, (3, 4, 6, 3), 64, _text(512))
_B16 = _vit("ViT-B/16", 512, 224, 16, 12, 768, 512)
_L14 = _vit("ViT-L/14", 768, 224, 14, 24, 1024, 768)
_L14_336 = _vit("ViT-L/14@336px", 768, 336, 14, 24, 1024, 768)

# The nine released models (paper, tables 19 and 20; activations and sizes of the released weights), small ones, SigLIP
# (arXiv 2303.15343) and SigLIP 2 (arXiv 2502.14786), CLIPA, ALIGN, ConVIRT, Chinese-CLIP (arXiv 2211.01335).
MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        _RN50,
        _resnet("RN101", 512, 224, (3, 4, 23, 3), 64, _text(512)),
        _resnet("RN50x4", 640, 288, (4, 6, 10, 6), 80, _text(640)),
        _resnet("RN50x16", 768, 384, (6, 8, 18, 8), 96, _text(768)),
        _resnet("RN50x64", 1024, 448, (3, 15, 36, 10), 128, _text(1024)),
        _vit("ViT-B/32", 512, 224, 32, 12, 768, 512),
        _B16,
        _L14,
        _L14_336,
        # Of equal cost on a processor: more channels for drawings, more pixels for photographs (docs/LOG.md).
        _resnet("RN-mini", 256, 64, (2, 2, 2, 2), 32, _small_text(48, 2)),
        _resnet("RN-mini@96px", 256, 96, (2, 2, 2, 2), 24, _small_text(48, 2)),
        _resnet("RN-micro", 128, 64, (1, 1, 1, 1), 16, _small_text(32, 1)),
        _siglip("ViT-B/16-SigLIP", 224, 16, _BASE),
        _siglip("ViT-L/16-SigLIP-256", 256, 16, _LARGE),
        _siglip("ViT-SO400M/14-SigLIP-384", 384, 14, _SO400M),
        _siglip("ViT-B/16-SigLIP2", 224, 16, _BASE, second=True),
        _siglip("ViT-L/16-SigLIP2-256", 256, 16, _LARGE, second=True),
        _siglip("ViT-SO400M/16-SigLIP2-256", 256, 16, _SO400M, second=True),
        _clipa(),
        _align(),
        _convirt(),
        _chinese("Chinese-CLIP-RN50", _RN50, 3),
        _chinese("Chinese-CLIP-ViT-B/16", _B16, 12),
        _chinese("Chinese-CLIP-ViT-L/14", _L14, 12),
        _chinese("Chinese-CLIP-ViT-L/14@336px", _L14_336, 12),
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
