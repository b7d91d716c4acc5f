"""Parts of a batch: a few images with their texts, and the patches of theirs that are seen."""

from __future__ import annotations

from torch import Tensor

from diptych.tokens import Tokens

Part = tuple[Tensor, Tokens, Tensor | None]


def parts(pixels_BCHW: Tensor, tokens: Tokens, places_BK: Tensor | None, images: int | None) -> list[Part]:
    """A batch cut into so many ``images`` at a time, each with its K texts; in one part without a number."""
    found: list[Part] = []
    captions, images = len(tokens.ids_BL) // len(pixels_BCHW), images or len(pixels_BCHW)
    for start in range(0, len(pixels_BCHW), images):
        rows, texts = slice(start, start + images), slice(start * captions, (start + images) * captions)
        places = None if places_BK is None else places_BK[rows]
        found.append((pixels_BCHW[rows], Tokens(tokens.ids_BL[texts], tokens.lengths_B[texts]), places))
    return found


def idle_parts(micro_batch: int | None, images: int) -> str | None:
    """What to say of a ``micro_batch`` that holds all ``images`` of a batch that a process has; None where it cuts."""
    if micro_batch is None or micro_batch < images:
        return None
    return f"micro_batch is {micro_batch:,}, but a process has {images:,} images of a batch, so it changes nothing"
