"""A bundle: weights, architecture, tokenizer and provenance of one model, read from anywhere."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from diptych.checkpoints.contents import Contents
from diptych.checkpoints.files import read_weights
from diptych.checkpoints.formats import OPEN_CLIP, OPENAI
from diptych.checkpoints.location import find
from diptych.checkpoints.resolve import resolve
from diptych.checkpoints.tensors import assemble, resized, stretched
from diptych.errors import CheckpointError
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
    folder, contents = find(location)
    where = str(location)
    file = read_weights(folder / contents.weights)
    resolved, provenance, format = resolve(folder, contents, file, spec=spec, activation=activation)
    _check_depth(resolved, len(file.entries), where)
    weights = assemble(file.entries, resolved, format.places(resolved), where)
    whose = OPENAI if format is OPEN_CLIP and file.activation else format  # only OpenAI's files tell it themselves
    provenance = {"weights_from": where, "weights_format": f"{whose.name}, {file.container}"} | provenance
    tokenizer_hash = _noted(provenance, "tokenizer")
    if image_size is not None and image_size != resolved.image.image_size:
        provenance = {**provenance, "image_size_from": resolved.image.image_size}
        provenance.pop("hashes", None)  # of other weights from here on
        weights, resolved = resized(weights, resolved, image_size)
    if context_length is not None and context_length != resolved.text.context_length:
        provenance = {**provenance, "context_length_from": resolved.text.context_length}
        provenance.pop("hashes", None)
        weights, resolved = stretched(weights, resolved, context_length)
        tokenizer_hash = None  # of the other length
    words = _tokenizer(tokenizer, folder, contents, resolved)
    if tokenizer is None and words and tokenizer_hash and not _is_noted(words, tokenizer_hash, folder, resolved):
        raise CheckpointError(
            f"{where}: the tokenizer is not the one that was written, by the SHA-256 noted with the weights, so texts "
            "would get wrong ids. Write the folder again, or pass the right one as tokenizer= (--tokenizer)"
        )
    return Bundle(_padded_as(words, resolved), weights, words, provenance)


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


def _check_depth(spec: ModelSpec, tensors: int, where: str) -> None:
    """A damaged description may promise a billion layers: find out before a name is made for each weight."""
    depths = [getattr(tower, "layers", 0) for tower in (spec.image, spec.text)]
    layers = sum(depth if isinstance(depth, int) else sum(depth) for depth in depths)
    if layers > tensors:
        raise CheckpointError(f"{where} is described as having {layers:,} layers, but it holds {tensors:,} tensors")


def _tokenizer(argument: str | Path | None, folder: Path, contents: Contents, spec: ModelSpec) -> AnyTokenizer | None:
    if argument is None and not contents.tokenizer:
        return None
    path = folder if argument is None else Path(argument)
    tokenizer = read_tokenizer(path, spec)
    # An embedding may be a little taller than a vocabulary that was trained elsewhere, and never smaller.
    fits = tokenizer.vocabulary_size == spec.text.vocabulary_size
    if not fits and not (spec.tokenizer != "clip_byte_pair" and tokenizer.vocabulary_size < spec.text.vocabulary_size):
        raise CheckpointError(
            f"the tokenizer in {path} has {tokenizer.vocabulary_size} tokens, the model {spec.text.vocabulary_size}; "
            "pass the one it was trained with as tokenizer= (--tokenizer)"
        )
    return tokenizer


def _is_noted(tokenizer: AnyTokenizer, noted: str, folder: Path, spec: ModelSpec) -> bool:
    """Whether a folder's tokenizer is the one of this hash, perhaps with texts cut shorter than the model has to."""
    from diptych.text.tokenizer_files import stored_context_length

    if tokenizer.fingerprint == noted:
        return True
    shorter = stored_context_length(folder / "tokenizer_config.json") or spec.text.context_length
    as_stored = dataclasses.replace(spec, text=dataclasses.replace(spec.text, context_length=shorter))
    return read_tokenizer(folder, as_stored).fingerprint == noted


def read_tokenizer(path: Path, spec: ModelSpec) -> AnyTokenizer:
    """The tokenizer of a folder or a file, of the family that the model has, with its length. Raises TokenizerError."""
    from diptych.text.pretrained import PretrainedTokenizer
    from diptych.text.tokenizer import Tokenizer
    from diptych.text.tokenizer_files import read_text

    length = spec.text.context_length
    if spec.tokenizer != "clip_byte_pair":
        padding = spec.text.padding_id if isinstance(spec.text, SiglipTextSpec) else None
        return PretrainedTokenizer.from_files(path, family=spec.tokenizer, context_length=length, pad_id=padding)
    if path.is_dir():
        return Tokenizer.from_files(path, context_length=length)
    if path.suffix == ".json":
        return Tokenizer.from_json(read_text(path), context_length=length)
    return Tokenizer.from_merges(path, context_length=length)


def _padded_as(tokenizer: AnyTokenizer | None, spec: ModelSpec) -> ModelSpec:
    """What SigLIP's texts are padded with is its tokenizer's affair: OpenCLIP and Transformers ask nobody else."""
    if tokenizer is None or not isinstance(spec.text, SiglipTextSpec):
        return spec
    return dataclasses.replace(spec, text=dataclasses.replace(spec.text, padding_id=tokenizer.pad_id))
