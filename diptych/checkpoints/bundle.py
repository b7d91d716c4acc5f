"""A bundle: weights, architecture, tokenizer and provenance of one model, read from anywhere."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from diptych.checkpoints.contents import Contents
from diptych.checkpoints.files import WeightsFile, read_weights
from diptych.checkpoints.formats import OPEN_CLIP, OPENAI
from diptych.checkpoints.location import find
from diptych.checkpoints.resolve import Resolved, resolve
from diptych.checkpoints.tensors import LONGEST_TEXT, assemble, resized, stretched
from diptych.checkpoints.vocabulary import is_noted, padded_as, tokenizer_of
from diptych.errors import CheckpointError, MissingExtra
from diptych.models.captioner import CaptionModel
from diptych.models.clip import CLIP, hollow
from diptych.specs import CaptionTransformerSpec, ModelSpec, SiglipTextSpec
from diptych.tower_specs import Activation

if TYPE_CHECKING:
    from diptych.text.pretrained import AnyTokenizer

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Bundle:
    """A model with everything that belongs to it.

    weights:    every parameter and buffer under its name in ``diptych.models.CLIP.state_dict()``, or a CaptionModel's.
    tokenizer:  None where the checkpoint brought none.
    provenance: JSON-able; where weights, architecture and activation came from (``weights_from`` ...), what was
                assumed, and what the writer adds: recipe, licence. ``hashes`` are those of the bundle on disk.
    """

    spec: ModelSpec
    weights: dict[str, Tensor]
    tokenizer: AnyTokenizer | None = None
    provenance: dict[str, Any] = field(default_factory=dict)


def read(
    location: str | Path,
    *,
    tokenizer: str | Path | None = None,
    spec: ModelSpec | None = None,
    activation: Activation | None = None,
    image_size: int | None = None,
    context_length: int | None = None,
) -> Bundle:
    """A checkpoint from a folder, a file, or ``hf:org/name[@revision]``; weights become fp32. Nothing in it is run.

    Folders are Diptych's and OpenCLIP's; files are safetensors, OpenAI's TorchScript archives and pickles of tensors.
    ``tokenizer``: a merges file, a tokenizer.json or a folder, for checkpoints that bring none (or another one).
    ``spec``, ``activation``: what a bare file does not tell. ``image_size``: pixels; position embeddings are resampled.
    ``context_length``: tokens; likewise.
    Raises CheckpointError that names what is wrong, missing or unknown, and what to pass.
    """
    opened = _open(location, spec=spec, activation=activation)
    weights, where, spec, provenance = opened.weights(), opened.where, opened.resolved.spec, opened.provenance()
    tokenizer_hash = _noted(provenance, "tokenizer")
    if image_size is not None and image_size != spec.image.image_size:
        provenance = {**provenance, "image_size_from": spec.image.image_size}
        provenance.pop("hashes", None)  # of other weights from here on
        weights, spec = resized(weights, spec, image_size)
    if context_length is not None and context_length != spec.text.context_length:
        provenance = {**provenance, "context_length_from": spec.text.context_length}
        provenance.pop("hashes", None)
        weights, spec = stretched(weights, spec, context_length)
        tokenizer_hash = None  # of the other length
    words = tokenizer_of(tokenizer, opened.folder, opened.contents, spec)
    if tokenizer is None and words and tokenizer_hash and not is_noted(words, tokenizer_hash, opened.folder, spec):
        raise CheckpointError(
            f"{where}: the tokenizer is not the one that was written, by the SHA-256 noted with the weights, so texts "
            "would get wrong ids. Write the folder again, or pass the right one as tokenizer= (--tokenizer)"
        )
    return Bundle(padded_as(words, spec), weights, words, provenance)


def outline(
    location: str | Path, *, tokenizer: str | Path | None = None, activation: Activation | None = None
) -> tuple[Bundle, list[str]]:
    """As much of a checkpoint as can be told without the extras that it needs, and what each of them is missing for.

    Where a tower is of a library that is not there, weights are the file's tensors without their numbers (on the meta
    device), and whether they fit the tower is not known. Raises CheckpointError as ``read`` does.
    """
    opened, missing = _open(location, spec=None, activation=activation), list[str]()
    words = None
    try:
        weights = opened.weights()
    except MissingExtra as error:
        missing.append(f"to run the model, {error}")
        entries = opened.file.entries.items()
        weights = {name: torch.empty(entry.shape, dtype=entry.dtype, device="meta") for name, entry in entries}
    try:
        words = tokenizer_of(tokenizer, opened.folder, opened.contents, opened.resolved.spec)
    except MissingExtra as error:
        missing.append(f"to encode texts, {error}")
    return Bundle(padded_as(words, opened.resolved.spec), weights, words, opened.provenance()), missing


class _Opened(NamedTuple):
    """A checkpoint whose description is read, and of whose weights names and shapes are."""

    where: str
    folder: Path
    contents: Contents
    file: WeightsFile
    resolved: Resolved

    def weights(self) -> dict[str, Tensor]:
        """All of them, under our names."""
        spec, format = self.resolved.spec, self.resolved.format
        where = str(self.folder / self.contents.weights)
        _check_sizes(spec, len(self.file.entries), self.where)
        return assemble(self.file.entries, spec, format.places(spec), where, self.resolved.model)

    def provenance(self) -> dict[str, Any]:
        """Where the weights came from, and what is noted beside."""
        format = self.resolved.format
        whose = OPENAI if format is OPEN_CLIP and self.file.activation else format  # only OpenAI's files tell it
        told = {"weights_from": self.where, "weights_format": f"{whose.name}, {self.file.container}"}
        return told | self.resolved.provenance


def _open(location: str | Path, *, spec: ModelSpec | None, activation: Activation | None) -> _Opened:
    folder, contents = find(location)
    file = read_weights(folder / contents.weights)
    resolved = resolve(folder, contents, file, spec=spec, activation=activation)
    return _Opened(str(location), folder, contents, file, resolved)


def padded_alike(bundle: Bundle) -> Bundle:
    """The bundle with a tokenizer that pads as the model was trained; one that was given may pad otherwise."""
    text, tokenizer = bundle.spec.text, bundle.tokenizer
    if not isinstance(text, SiglipTextSpec) or tokenizer is None or tokenizer.family == "clip_byte_pair":
        return bundle
    return dataclasses.replace(bundle, tokenizer=tokenizer.padded_with(text.padding_id))


def build(bundle: Bundle) -> CLIP:
    """The model of a bundle, in evaluation mode; its parameters *are* the bundle's tensors, nothing is copied.

    Raises CheckpointError where they are not its weights, or the model is none that embeds texts.
    """
    if isinstance(bundle.spec.text, CaptionTransformerSpec):
        raise CheckpointError(
            f"{bundle.spec.name} writes captions and embeds no texts, so it is no CLIP; "
            "diptych.encoder.captioner.load_captioner opens it"
        )
    return _filled(hollow(CLIP, bundle.spec), bundle)


def build_captioner(bundle: Bundle) -> CaptionModel:
    """The same for a model that writes captions; CheckpointError for one that does not."""
    if not isinstance(bundle.spec.text, CaptionTransformerSpec):
        raise CheckpointError(f"{bundle.spec.name} writes no captions; diptych.load opens it")
    return _filled(hollow(CaptionModel, bundle.spec), bundle)


def _filled(model: M, bundle: Bundle) -> M:
    try:
        model.load_state_dict(bundle.weights, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"the weights are not those of {bundle.spec.name}: {error}") from error
    return model.eval()


def fingerprint(weights: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of weights: the same for the same model, whatever file it is in."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def as_written(bundle: Bundle) -> bool | None:
    """Whether the weights of a bundle that was read are those that were written; None where nobody noted them.

    It costs a pass over all of them, so reading a bundle leaves it out: there the weights are only mapped.
    """
    noted = _noted(bundle.provenance, "weights")
    return None if noted is None else fingerprint(bundle.weights) == noted


def _noted(provenance: dict[str, Any], what: str) -> Any:
    hashes = provenance.get("hashes")
    return hashes.get(what) if isinstance(hashes, dict) else None


def _check_sizes(spec: ModelSpec, tensors: int, where: str) -> None:
    """A damaged description may promise a billion layers: find out before a name is made for each weight. Or texts of
    as many tokens, of which no weight tells where a tower has no positions."""
    if spec.text.context_length > LONGEST_TEXT:
        raise CheckpointError(f"{where} is described as taking texts of {spec.text.context_length:,} tokens")
    depths = [getattr(tower, "layers", 0) for tower in (spec.image, spec.text)]
    layers = sum(depth if isinstance(depth, int) else sum(depth) for depth in depths)
    if layers > tensors:
        raise CheckpointError(f"{where} is described as having {layers:,} layers, but it holds {tensors:,} tensors")
