"""The families of files that can be read and written: what each calls its tensors, and how it is told by them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from diptych.checkpoints import architecture, big_vision, chinese_clip
from diptych.checkpoints.architecture import Shapes
from diptych.checkpoints.boundary import listed
from diptych.checkpoints.names import big_vision as big_vision_names
from diptych.checkpoints.names import chinese_clip as chinese_clip_names
from diptych.checkpoints.names import huggingface as huggingface_names
from diptych.checkpoints.names import open_clip as open_clip_names
from diptych.checkpoints.names import openai as openai_names
from diptych.checkpoints.places import Place, places
from diptych.checkpoints.tensors import expected
from diptych.errors import CheckpointError
from diptych.specs import ModelSpec
from diptych.tower_specs import Activation


@dataclass(frozen=True)
class Format:
    """The names of one family.

    told:  whether tensors of these shapes are of this family, by the name of one that every model of it has.
    rows:  our names of the tensors of each kind of tower to theirs (see `places`); None for our own names.
    infer: the spec from shapes, where a file comes without a config; None where it never does.
    activation: what all published models of the family have, where a file does not tell; None where they differ.
    assumed: what else shapes do not tell and ``infer`` takes for granted.
    """

    name: str
    told: Callable[[Shapes], bool]
    rows: Mapping[type, Mapping[str, str]] | None
    infer: Callable[..., ModelSpec] | None = None
    activation: Activation | None = None
    assumed: tuple[str, ...] = ("heads of width 64", "class token pooled", "CLIP's preprocessing")

    def places(self, spec: ModelSpec) -> dict[str, Place]:
        """Where each tensor of the model lies; CheckpointError for towers that this family has no names for."""
        names = list(expected(spec))
        if self.rows is None:
            return {name: Place((name,)) for name in names}
        rows: dict[str, str] = {}
        for tower in (spec.image, spec.text):
            if type(tower) not in self.rows:
                raise CheckpointError(f"{self.name} has no names for {spec.name}: it knows no {tower.kind}")
            rows |= self.rows[type(tower)]
        try:
            return places(names, rows)
        except KeyError as error:
            raise CheckpointError(f"{self.name} has no name for {error.args[0]} of {spec.name}") from error


def _named(pattern: str) -> Callable[[Shapes], bool]:
    return lambda shapes: any(re.match(pattern, name) for name in shapes)


def _flat_patches(shapes: Shapes) -> bool:
    return len(shapes.get("vision_model.embeddings.patch_embedding.weight", ())) == 2


OPEN_CLIP = Format("open_clip", _named(r"visual\."), open_clip_names.ROWS, architecture.infer)
OPEN_CLIP_OWN_TEXT = Format(
    "open_clip", _named(r"text\.(?!\d)"), open_clip_names.ROWS_OWN_TEXT, architecture.infer_own_text
)
DIPTYCH = Format("diptych", _named(r"image\."), None)
OPENAI = Format("openai", _named(r"visual\."), openai_names.ROWS)
HUGGINGFACE = Format("huggingface", _named(r"vision_model\."), huggingface_names.ROWS)
HUGGINGFACE_FLAT = Format("huggingface", _flat_patches, huggingface_names.ROWS_FLAT_PATCHES)
BIG_VISION = Format(
    "big_vision", _named(r"img/"), big_vision_names.ROWS, big_vision.infer, "gelu_tanh", big_vision.ASSUMED
)
CHINESE_CLIP = Format(
    "chinese_clip", _named(r"bert\."), chinese_clip_names.ROWS, chinese_clip.infer, "quick_gelu", chinese_clip.ASSUMED
)
# In this order: what an earlier one recognises is its own.
READ = (DIPTYCH, HUGGINGFACE_FLAT, HUGGINGFACE, BIG_VISION, CHINESE_CLIP, OPEN_CLIP_OWN_TEXT, OPEN_CLIP)


class Supported(NamedTuple):
    """One kind: the names of its tensors, what it is, what tells its architecture, what must be passed, how it is
    written where it can be, and a public one."""

    format: Format
    what: str
    told_by: str
    passed: str
    written: str | None
    example: str


SUPPORTED = (
    Supported(DIPTYCH, "Diptych: a run's model, any towers", "`diptych.json`", "nothing", "diptych", "`diptych train`"),
    Supported(
        OPEN_CLIP,
        "OpenCLIP: CLIP",
        "`open_clip_config.json`",
        "nothing",
        "open_clip",
        "`hf:laion/CLIP-ViT-B-32-laion2B-s34B-b79K`",
    ),
    Supported(
        OPEN_CLIP_OWN_TEXT,
        "OpenCLIP: SigLIP, SigLIP 2",
        "`open_clip_config.json`",
        "nothing",
        "open_clip",
        "`hf:timm/ViT-B-16-SigLIP`",
    ),
    Supported(
        OPEN_CLIP,
        "OpenCLIP: training checkpoints, bare files",
        "its tensors",
        "activation, tokenizer",
        None,
        "`epoch_32.pt`",
    ),
    Supported(
        OPENAI,
        "OpenAI: TorchScript archives, never run; state dicts",
        "its tensors",
        "tokenizer; of most state dicts activation",
        "openai",
        "`ViT-B-32.pt` of openai/CLIP",
    ),
    Supported(
        HUGGINGFACE,
        "Transformers: `CLIPModel`",
        "`config.json`",
        "nothing",
        "huggingface",
        "`hf:openai/clip-vit-base-patch32`",
    ),
    Supported(
        HUGGINGFACE,
        "Transformers: `SiglipModel`",
        "`config.json`",
        "nothing",
        "huggingface",
        "`hf:google/siglip-base-patch16-224`",
    ),
    Supported(
        HUGGINGFACE_FLAT,
        "Transformers: `Siglip2Model`, at one resolution",
        "`config.json`",
        "nothing",
        None,
        "`hf:google/siglip2-base-patch16-naflex`",
    ),
    Supported(
        HUGGINGFACE,
        "Transformers: `ChineseCLIPModel`",
        "`config.json`",
        "nothing",
        "huggingface",
        "`hf:OFA-Sys/chinese-clip-vit-base-patch16`",
    ),
    Supported(
        CHINESE_CLIP,
        "Chinese-CLIP: its own files",
        "its tensors",
        "tokenizer (`vocab.txt`)",
        None,
        "`clip_cn_vit-b-16.pt`",
    ),
    Supported(
        BIG_VISION,
        "big_vision: SigLIP's `.npz`",
        "its arrays",
        "tokenizer",
        None,
        "`webli_en_b16_224_63724782.npz`",
    ),
)


def recognised(shapes: Shapes, where: str) -> Format:
    """The family whose tensors these are; CheckpointError where there is none."""
    for format in READ:
        if format.told(shapes):
            return format
    raise CheckpointError(
        f"{where} is not a CLIP that is known: it holds {listed(shapes, 3)} ...; known are the names of OpenAI, "
        "OpenCLIP, Transformers, big_vision and Chinese-CLIP"
    )
