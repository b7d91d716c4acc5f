"""The objectives that the paper compares its own with (section 2.3, figure 2): an image predicts the words of its
caption, whatever their order, or the caption itself.

Each caption's loss is its own, so that a batch may pass through the towers in parts whose gradients simply add up.
Neither looks at ids of images and texts or at a ``LossSpec``; both take them, since objectives are called alike.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from diptych import distributed
from diptych.errors import ConfigError
from diptych.models.clip import CLIP
from diptych.specs import BagOfWordsSpec, CaptionTransformerSpec, ModelSpec
from diptych.tokens import Tokens
from diptych.training.forward import exchange
from diptych.training.losses import LossSpec
from diptych.training.parts import parts

SCORES_AT_ONCE = 1 << 24  # of images and words: 64 MB in fp32


def check_objective(objective: str, model: ModelSpec, loss: LossSpec) -> None:
    """Raise ConfigError where a model is not made for an objective, or a loss is told to one that has none."""
    if objective == "contrastive":
        if isinstance(model.text, CaptionTransformerSpec):
            raise ConfigError(
                f"{model.name} writes captions (model.text.kind is {model.text.kind}) and embeds no texts, which "
                "objective contrastive needs; it can be trained with objective=caption"
            )
        return
    wanted = BagOfWordsSpec if objective == "bag_of_words" else CaptionTransformerSpec
    if not isinstance(model.text, wanted):
        raise ConfigError(f"objective {objective} needs model.text.kind {wanted.kind}, not {model.text.kind}")
    if model.scores != "softmax":
        raise ConfigError(f"objective {objective} needs model.scores softmax, not {model.scores}")
    if loss != LossSpec():
        raise ConfigError(
            f"the values of loss are of objective contrastive, and {objective} has none of them; --set 'loss={{}}' "
            "takes the recipe's away"
        )


def bag_of_words(
    run: nn.Module,
    pixels_BCHW: Tensor,
    tokens: Tokens,
    *,
    image_ids_B: Tensor,
    text_ids_M: Tensor,
    loss: LossSpec,
    micro_batch: int | None = None,
    places_BK: Tensor | None = None,
    loss_scale: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Which words a caption holds, told from its image: the mean over captions of the cross-entropy between their
    words, which share the target evenly, and a softmax over the vocabulary (arXiv 1511.02251). In a logistic loss for
    each word by itself, the few that are there would have to be weighed against the thousands that are not.

    A word's score is the scaled cosine similarity of the image and of the text that has this one word, so that the
    model is a CLIP of a bag of words in all respects, and its embedding of a text is made of what was learned of the
    words. A caption without words counts as one without loss. Otherwise as `contrastive`.
    """
    total, hits = pixels_BCHW.new_zeros(2).unbind()
    vocabulary = next(module for module in run.modules() if isinstance(module, CLIP)).spec.text.vocabulary_size
    words = _one_word_texts(vocabulary, tokens)
    every = len(tokens.ids_BL) * distributed.world_size()
    cut = parts(pixels_BCHW, tokens, places_BK, micro_batch)
    for part in cut:
        part_pixels, part_tokens, part_places = part
        with exchange(run, last=part is cut[-1]):
            images_bE, words_VE, scale, _ = run(part_pixels, words, part_places)
            part_loss, part_hits = words_cross_entropy(scale * images_bE, words_VE, part_tokens)
            (loss_scale * part_loss / every).backward()
        total, hits = total + part_loss.detach() / every, hits + part_hits / every
    return distributed.summed(total), {"word_accuracy": distributed.summed(hits)}


def caption(
    run: nn.Module,
    pixels_BCHW: Tensor,
    tokens: Tokens,
    *,
    image_ids_B: Tensor,
    text_ids_M: Tensor,
    loss: LossSpec,
    micro_batch: int | None = None,
    places_BK: Tensor | None = None,
    loss_scale: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The caption, told from its image a token at a time (paper, section 2.3): the mean over all tokens of the batch of
    their negative log-likelihood, each given the image and the tokens before it. Otherwise as `contrastive`."""
    total, every = pixels_BCHW.new_zeros(()), distributed.summed((tokens.lengths_B - 1).sum())
    cut = parts(pixels_BCHW, tokens, places_BK, micro_batch)
    for part in cut:
        with exchange(run, last=part is cut[-1]):
            part_loss = -run(*part).sum() / every
            (loss_scale * part_loss).backward()
        total = total + part_loss.detach()
    return distributed.summed(total), {}


def words_cross_entropy(scaled_BE: Tensor, words_VE: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """The sum over texts, K for each of the B images, of the cross-entropy between the words of a text, which share the
    target evenly, and a softmax over all words; and how many texts hold the word that their image ranks first.

    ``scaled_BE``: image embeddings times the scale. Memory grows with images and with words, not with their product:
    a block of scores that is past is computed again for the gradient.
    """
    at_once = max(1, SCORES_AT_ONCE // len(words_VE))
    captions, losses, hits = len(tokens.ids_BL) // len(scaled_BE), [], []
    for start in range(0, len(scaled_BE), at_once):
        texts = slice(start * captions, (start + at_once) * captions)
        block = (scaled_BE[start : start + at_once], words_VE, tokens.ids_BL[texts], tokens.lengths_B[texts])
        alone = len(scaled_BE) <= at_once
        loss, hit = _block(*block) if alone else checkpoint(_block, *block, use_reentrant=False)
        losses.append(loss)
        hits.append(hit)
    return torch.stack(losses).sum(), torch.stack(hits).sum()


def _block(scaled_bE: Tensor, words_VE: Tensor, ids_mL: Tensor, lengths_m: Tensor) -> tuple[Tensor, Tensor]:
    scores_bV = scaled_bE @ words_VE.T
    places_L = torch.arange(ids_mL.shape[1], device=ids_mL.device)
    inside_mL = (places_L > 0) & (places_L < lengths_m[:, None] - 1)  # neither start nor end is a word
    images = len(scaled_bE)
    own_mL = scores_bV.gather(1, ids_mL.view(images, -1)).view_as(ids_mL)
    counts_m = inside_mL.sum(dim=1)
    mean_m = (own_mL * inside_mL).sum(dim=1) / counts_m.clamp(min=1)
    logs_m = scores_bV.logsumexp(dim=1).repeat_interleave(len(ids_mL) // images)
    first_m = scores_bV.argmax(dim=1).repeat_interleave(len(ids_mL) // images)
    hits = ((ids_mL == first_m[:, None]) & inside_mL).any(dim=1).sum()
    return ((logs_m - mean_m) * (counts_m > 0)).sum(), hits


def _one_word_texts(vocabulary: int, tokens: Tokens) -> Tokens:
    """Every entry of the vocabulary between the start and the end token, as these stand in a text."""
    ids_V3 = tokens.ids_BL[0, 0].repeat(vocabulary, 3)
    ids_V3[:, 1] = torch.arange(vocabulary, device=ids_V3.device)
    ids_V3[:, 2] = tokens.ids_BL[0, tokens.lengths_B[0] - 1]
    return Tokens(ids_V3, torch.full_like(ids_V3[:, 0], 3))
