"""A model as OpenAI's code opens it: a TorchScript archive of its tensors, and what that code cannot build."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from diptych.checkpoints.open_clip import RELEASED_VOCABULARY
from diptych.errors import CheckpointError
from diptych.specs import ModelSpec, PreprocessSpec, TextTransformerSpec, VisionTransformerSpec
from diptych.text.pretrained import AnyTokenizer
from diptych.text.tokenizer import Tokenizer


class _Branch(nn.Module):
    """A place in the tree of names."""


def save_archive(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors so that ``clip.load`` takes them; the archive holds no program.

    It asks TorchScript first, and what TorchScript refuses it goes on to read where that stopped, at the end of the
    file: so a state dict, though its code has a branch for one, it cannot load.
    """
    root = _Branch()
    for name, tensor in tensors.items():
        *parents, leaf = name.split(".")
        branch: nn.Module = root
        for parent in parents:
            if parent not in dict(branch.named_children()):
                branch.add_module(parent, _Branch())
            branch = branch.get_submodule(parent)
        if tensor.is_floating_point():
            branch.register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))
        else:
            branch.register_buffer(leaf, tensor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; OpenAI's loader knows nothing else
        torch.jit.script(root.eval()).save(str(path))


def refuse(spec: ModelSpec, tokenizer: AnyTokenizer | None) -> None:
    """CheckpointError that lists what of a model ``clip.load`` would get wrong: it infers the architecture from shapes,
    and its activation, preprocessing and vocabulary are the released ones."""
    image, text = spec.image, spec.text
    if not isinstance(text, TextTransformerSpec) or image.kind not in ("vision_transformer", "modified_resnet"):
        raise CheckpointError(f"OpenAI's code has no towers {image.kind} and {text.kind}, as {spec.name} has")
    wrong = []
    for tower, name in ((image, "image"), (text, "text")):
        if (activation := getattr(tower, "activation", "quick_gelu")) != "quick_gelu":
            wrong.append(f"{activation} in the {name} tower")
        if tower.width != 64 * getattr(tower, "heads", 0):
            wrong.append(f"{name} heads of another width than 64")
        if (ratio := getattr(tower, "mlp_ratio", 4.0)) != 4.0:
            wrong.append(f"mlp_ratio of {ratio:g} in the {name} tower")
        if (epsilon := getattr(tower, "norm_epsilon", 1e-5)) != 1e-5:
            wrong.append(f"norm_epsilon of {epsilon:g} in the {name} tower")
    if isinstance(image, VisionTransformerSpec) and image.pooling != "class_token":
        wrong.append(f"{image.pooling} pooling")
    own = tokenizer is not None and not (isinstance(tokenizer, Tokenizer) and tokenizer.is_released)
    if text.vocabulary_size != RELEASED_VOCABULARY or own:
        wrong.append("vocabulary of one's own")
    size = spec.preprocess.size
    if spec.preprocess not in (PreprocessSpec(size=size), PreprocessSpec(size=size, resize_to=size)):
        wrong.append("preprocessing other than CLIP's")
    if spec.scores != "softmax":
        wrong.append(f"{spec.scores} scores")
    if wrong:
        raise CheckpointError(f"OpenAI's code has no {', no '.join(wrong)}, as {spec.name} has")
