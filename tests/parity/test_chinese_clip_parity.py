"""Chinese-CLIP's own files, made from Transformers' model of it under their original names."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from test_open_clip_parity import TOLERANCE, difference
from test_transformers_parity import VARIANTS, ours, redraw, their_model, theirs
from torch import Tensor

from diptych.checkpoints.bundle import build, read

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

NAMES = {
    r"text_model\.(.*)": r"bert.\1",
    r"vision_model\.embeddings\.class_embedding": "visual.class_embedding",
    r"vision_model\.embeddings\.patch_embedding\.weight": "visual.conv1.weight",
    r"vision_model\.embeddings\.position_embedding\.weight": "visual.positional_embedding",
    r"vision_model\.pre_layrnorm\.(\w+)": r"visual.ln_pre.\1",
    r"vision_model\.post_layernorm\.(\w+)": r"visual.ln_post.\1",
    r"vision_model\.encoder\.layers\.(\d+)\.layer_norm(\d)\.(\w+)": r"visual.transformer.resblocks.\1.ln_\2.\3",
    r"vision_model\.encoder\.layers\.(\d+)\.mlp\.fc1\.(\w+)": r"visual.transformer.resblocks.\1.mlp.c_fc.\2",
    r"vision_model\.encoder\.layers\.(\d+)\.mlp\.fc2\.(\w+)": r"visual.transformer.resblocks.\1.mlp.c_proj.\2",
    r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.(\w+)": (
        r"visual.transformer.resblocks.\1.attn.out_proj.\2"
    ),
    r"logit_scale": "logit_scale",
}


def original(state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {"visual.proj": state["visual_projection.weight"].T, "text_projection": state["text_projection.weight"].T}
    for name, tensor in state.items():
        for pattern, theirs_ in NAMES.items():
            if re.fullmatch(pattern, name):
                renamed[re.sub(pattern, theirs_, name)] = tensor
    for i in range(2):
        for kind in ("weight", "bias"):
            parts = [state[f"vision_model.encoder.layers.{i}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            renamed[f"visual.transformer.resblocks.{i}.attn.in_proj_{kind}"] = torch.cat(parts)
    return {f"module.{name}": tensor.contiguous() for name, tensor in renamed.items()}


def test_reads_their_training_checkpoint(tmp_path: Path) -> None:
    spec = VARIANTS["Chinese-CLIP-ViT-B/16"]
    text = dataclasses.replace(spec.text, heads=1)  # 64 wide, as in all of them
    image = dataclasses.replace(spec.image, width=128, heads=2)
    spec = dataclasses.replace(spec, image=image, text=text)
    model = redraw(their_model(spec))
    checkpoint = {"epoch": 3, "name": "x", "state_dict": original(model.state_dict())}
    torch.save(checkpoint, tmp_path / "clip_cn_small.pt")
    bundle = read(tmp_path / "clip_cn_small.pt")
    assert bundle.spec.image.activation == "quick_gelu"
    assert difference(ours(build(bundle)), theirs(model, spec)) <= TOLERANCE
