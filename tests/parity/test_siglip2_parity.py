"""SigLIP 2 as Transformers' ``Siglip2Model`` has it, whose images come as patches, read at its one square."""

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from test_open_clip_parity import TOLERANCE, difference
from test_transformers_parity import inputs, ours, redraw
from torch import Tensor

from diptych.checkpoints.bundle import build, read

transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

SMALL = {"hidden_size": 64, "intermediate_size": 100, "num_hidden_layers": 2, "num_attention_heads": 2}


def test_reads_siglip_2_whose_images_come_as_patches(tmp_path: Path) -> None:
    config = transformers.Siglip2Config(
        text_config=SMALL | {"vocab_size": 600, "projection_size": 64},
        vision_config=SMALL | {"num_patches": 9, "patch_size": 8},
    )
    model = redraw(transformers.Siglip2Model(config))
    model.save_pretrained(tmp_path)
    bundle = read(tmp_path)
    assert (bundle.spec.image.image_size, bundle.spec.image.patch_size) == (24, 8)
    pixels, tokens = inputs(bundle.spec)
    with torch.no_grad():
        images = model.get_image_features(
            pixel_values=patches(pixels, 8),
            pixel_attention_mask=torch.ones(3, 9, dtype=torch.long),
            spatial_shapes=torch.full((3, 2), 3),
        ).pooler_output
        texts = model.get_text_features(input_ids=tokens.ids_BL).pooler_output
    theirs = F.normalize(images, dim=1), F.normalize(texts, dim=1)
    assert difference(ours(build(bundle)), theirs) <= TOLERANCE
    assert dataclasses.asdict(bundle.spec.text)["vocabulary_size"] == 600


def patches(pixels_BCHW: Tensor, size: int) -> Tensor:
    """(B, N, size * size * C), rows of patches from the top left, channels last, as its image processor cuts them."""
    B, C, H, W = pixels_BCHW.shape
    cut = pixels_BCHW.reshape(B, C, H // size, size, W // size, size)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(B, -1, size * size * C)
