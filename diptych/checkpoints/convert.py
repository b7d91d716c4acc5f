"""Converting a checkpoint and proving that it came through: source and destination embed the same images and texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.checkpoints.bundle import Bundle, build, padded_alike, read
from diptych.checkpoints.writing import FormatName, write
from diptych.errors import CheckpointError
from diptych.models.clip import CLIP
from diptych.specs import PreprocessSpec
from diptych.tokens import Tokens

TOLERANCE = 1e-5  # of unit-norm embeddings in fp32
_PROBES = 8
_TEXTS = (
    *("a photo of a cat", "two red circles left of a small green square", "", "Zwölf Boxkämpfer jagen Viktor"),
    *("一只猫坐在窗台上", "AT&amp;T's naïve 😀 e-mail, no. 42!", "word " * 200, "<|endoftext|> and more"),
)


@dataclass(frozen=True)
class Proof:
    """The largest difference between unit-norm embeddings of the probes, of images and of texts."""

    images: float
    texts: float

    @property
    def largest(self) -> float:
        """The larger of the two; NaN where one is."""
        return float(torch.tensor([self.images, self.texts]).max())


def convert(bundle: Bundle, folder: str | Path, format: FormatName, *, tolerance: float = TOLERANCE) -> Proof:
    """Write a bundle in another format, read that back by its own account alone, and compare.

    Raises CheckpointError that says what the format cannot express, which weights are no numbers, or what came back
    otherwise: embeddings by more than ``tolerance`` and the first layer that differs, a weight, the preprocessing, the
    tokenizer. Nothing is left behind then.
    """
    if broken := [name for name, tensor in bundle.weights.items() if not tensor.isfinite().all()]:
        raise CheckpointError(f"the model is broken: {', '.join(broken[:4])} hold NaN or infinity")
    bundle, proofs = padded_alike(bundle), list[Proof]()

    def prove(written: Path) -> None:
        back = _read_back(written, bundle, format)
        proofs.append(compare(bundle, back, tolerance=tolerance))
        _same_beside(bundle, back)

    write(bundle, folder, format=format, check=prove)
    return proofs[0]


def _read_back(written: Path, bundle: Bundle, format: FormatName) -> Bundle:
    if format == "openai":  # what brings no tokenizer; only those that its code has are written
        return read(written / "model.pt")
    back = read(written)
    if bundle.tokenizer is not None and back.tokenizer != bundle.tokenizer:
        raise CheckpointError(f"the tokenizer did not come through: {bundle.tokenizer} became {back.tokenizer}")
    return back


def _same_beside(source: Bundle, back: Bundle) -> None:
    """What few embeddings of a few probes do not show: each weight, the scores, what becomes of an image before."""
    for name, tensor in source.weights.items():
        ours, theirs = tensor.detach().cpu().to(back.weights[name].dtype), back.weights[name]
        if not torch.equal(ours, theirs):
            raise CheckpointError(f"{name} did not come through: it differs by {_farthest(ours, theirs):.2g}")
    for what in ("preprocess", "scores"):
        was, became = _spelled_out(getattr(source.spec, what)), _spelled_out(getattr(back.spec, what))
        if was != became:
            raise CheckpointError(f"{what} did not come through: {was} became {became}")


def _farthest(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).abs().max())


def _spelled_out(value: PreprocessSpec | str) -> PreprocessSpec | str:
    if isinstance(value, str):
        return value
    return dataclasses.replace(value, resize_to=value.resize_to or value.size)


def compare(source: Bundle, destination: Bundle, *, tolerance: float = TOLERANCE) -> Proof:
    """How far the embeddings of the probes are apart; CheckpointError with the first layer that differs if too far."""
    ours, theirs = build(source), build(destination)
    pixels_BCHW, tokens = _probes(source)
    proof = Proof(
        _distance(ours.encode_image, theirs.encode_image, pixels_BCHW),
        _distance(ours.encode_text, theirs.encode_text, tokens),
    )
    if not proof.largest <= tolerance:  # NaN is no proof either
        layer = first_difference(ours, theirs, pixels_BCHW, tokens, tolerance)
        raise CheckpointError(
            f"embeddings differ by {proof.largest:.2g}, more than {tolerance:.0e}; the first layer that does is {layer}"
        )
    return proof


def _probes(bundle: Bundle) -> tuple[Tensor, Tokens]:
    """Noise of several scales, about as large as normalised pixels; texts of many kinds where there is a tokenizer."""
    spec, generator = bundle.spec, torch.Generator().manual_seed(0)
    size = spec.image.image_size
    noise = [torch.randn(_PROBES, 3, max(1, size >> i), max(1, size >> i), generator=generator) for i in (0, 2, 4)]
    pixels_BCHW = torch.stack([F.interpolate(layer, (size, size), mode="bilinear") for layer in noise]).sum(0) / 3**0.5
    if bundle.tokenizer is not None:
        return pixels_BCHW, bundle.tokenizer(_TEXTS)
    length, highest = spec.text.context_length, spec.text.vocabulary_size - 1
    lengths_B = torch.linspace(min(2, length), length, _PROBES).round().long()
    ids_BL = torch.randint(1, highest, (_PROBES, length), generator=generator)
    ids_BL[torch.arange(_PROBES), lengths_B - 1] = highest
    ids_BL = ids_BL.masked_fill(torch.arange(length) >= lengths_B[:, None], 0)
    return pixels_BCHW, Tokens(ids_BL, lengths_B)


@torch.inference_mode()
def _distance(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], probes: Tensor | Tokens) -> float:
    a, b = (F.normalize(encode(probes), dim=1) for encode in (ours, theirs))
    return float((a - b).abs().max())


@torch.inference_mode()
def first_difference(ours: CLIP, theirs: CLIP, pixels_BCHW: Tensor, tokens: Tokens, tolerance: float) -> str:
    """The name of the first layer, in the order of computation, whose output is not the same in both."""
    outputs = []
    for model in (ours, theirs):
        seen: dict[str, Tensor] = {}
        hooks = [module.register_forward_hook(_recorder(name, seen)) for name, module in _leaves(model)]
        try:
            model.encode_image(pixels_BCHW)
            model.encode_text(tokens)
        finally:
            for hook in hooks:
                hook.remove()
        outputs.append(seen)
    for name, output in outputs[0].items():
        other = outputs[1].get(name)
        if other is None or other.shape != output.shape or not _close(output, other, tolerance):
            return name
    return "a projection after the last layer"


def _leaves(model: CLIP) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in model.named_modules() if name and not any(module.children())]


def _recorder(name: str, seen: dict[str, Tensor]) -> Callable[..., None]:
    def record(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            seen[name] = output

    return record


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return bool((a - b).abs().max() <= tolerance * max(1.0, float(a.abs().max())))
