"""Every kind of checkpoint, as the README lists them: ``python -m diptych.checkpoints.supported`` prints its table."""

from __future__ import annotations

from typing import NamedTuple

from diptych.checkpoints import formats
from diptych.checkpoints.formats import Format
from diptych.checkpoints.writing import FormatName


class Supported(NamedTuple):
    """One kind: the names of its tensors, what it is, what tells its architecture, what must be passed, how it is
    written where it can be, and a public one."""

    format: Format
    what: str
    told_by: str
    passed: str
    written: FormatName | None
    example: str


SUPPORTED = (
    Supported(
        formats.DIPTYCH, "Diptych: a run's model, any towers", "`diptych.json`", "nothing", "diptych", "`diptych train`"
    ),
    Supported(
        formats.OPEN_CLIP,
        "OpenCLIP: CLIP",
        "`open_clip_config.json`",
        "nothing",
        "open_clip",
        "`hf:laion/CLIP-ViT-B-32-laion2B-s34B-b79K`",
    ),
    Supported(
        formats.OPEN_CLIP_OWN_TEXT,
        "OpenCLIP: SigLIP, SigLIP 2",
        "`open_clip_config.json`",
        "nothing",
        "open_clip",
        "`hf:timm/ViT-B-16-SigLIP`",
    ),
    Supported(
        formats.OPEN_CLIP,
        "OpenCLIP: training checkpoints, bare files",
        "its tensors",
        "activation, tokenizer",
        None,
        "`epoch_32.pt`",
    ),
    Supported(
        formats.OPENAI,
        "OpenAI: TorchScript archives, never run; state dicts",
        "its tensors",
        "tokenizer",
        "openai",
        "`ViT-B-32.pt` of openai/CLIP",
    ),
    Supported(
        formats.HUGGINGFACE,
        "Transformers: `CLIPModel`",
        "`config.json`",
        "nothing",
        "huggingface",
        "`hf:openai/clip-vit-base-patch32`",
    ),
    Supported(
        formats.HUGGINGFACE,
        "Transformers: `SiglipModel`",
        "`config.json`",
        "nothing",
        "huggingface",
        "`hf:google/siglip-base-patch16-224`",
    ),
    Supported(
        formats.HUGGINGFACE_FLAT,
        "Transformers: `Siglip2Model`, at one resolution",
        "`config.json`",
        "nothing",
        None,
        "`hf:google/siglip2-base-patch16-naflex`",
    ),
    Supported(
        formats.HUGGINGFACE,
        "Transformers: `ChineseCLIPModel`",
        "`config.json`",
        "nothing",
        "huggingface",
        "`hf:OFA-Sys/chinese-clip-vit-base-patch16`",
    ),
    Supported(
        formats.CHINESE_CLIP,
        "Chinese-CLIP: its own files",
        "its tensors",
        "tokenizer (`vocab.txt`)",
        None,
        "`clip_cn_vit-b-16.pt`",
    ),
    Supported(
        formats.BIG_VISION,
        "big_vision: SigLIP's `.npz`",
        "its arrays",
        "tokenizer",
        None,
        "`webli_en_b16_224_63724782.npz`",
    ),
)


def table() -> str:
    """The table as Markdown."""
    rows = [
        "| what | architecture told by | must be passed | written by `--format` | example |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| {row.what} | {row.told_by} | {row.passed} | {f'`{row.written}`' if row.written else 'no'} | {row.example} |"
        for row in SUPPORTED
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
