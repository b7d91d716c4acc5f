"""Where a tensor of ours lies in somebody else's file: rows of patterns that are read in both directions.

A row is our name and theirs, ``"text.blocks.{i}.mlp.expand.{p}": "text_model.encoder.layers.{i}.mlp.fc1.{p}"``. In
both, ``{i}`` and ``{j}`` are numbers of blocks and ``{p}`` is whatever the layer holds: weight, bias, running_mean ...
In theirs besides:

    {q|k|v}     one tensor each, ours being all of them along the first axis; ``kv:2`` counts double
    ^T          transposed
    ^HWIO       a convolution whose channels come last
    ^HWC        a convolution of patches as a linear layer of their pixels, channels last
    ^1          with a leading axis of one

Of several rows that fit a name, the first counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Shape = tuple[int, ...]


class Place(NamedTuple):
    """The parts of one of our tensors: their names, their shares of its first axis, and how they are turned."""

    names: tuple[str, ...]
    shares: tuple[int, ...] = (1,)
    turn: str = ""

    def shapes(self, whole: Shape) -> dict[str, Shape]:
        """The shape of each part in the file, of a tensor that has the shape ``whole`` here."""
        if not whole:
            return {self.names[0]: (1,) if self.turn == "1" else ()}
        unit = whole[0] // sum(self.shares)
        return {
            name: tuple(_turned(torch.empty(share * unit, *whole[1:], device="meta"), self.turn).shape)
            for name, share in zip(self.names, self.shares, strict=True)
        }

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Ours from the parts in the file; a single one that is not turned is handed on as it is."""
        back = [_turned_back(part, self.turn) for part in parts]
        return back[0] if len(back) == 1 else torch.cat(back)

    def split(self, tensor: Tensor) -> dict[str, Tensor]:
        """The parts for the file, contiguous."""
        if tensor.ndim == 0:
            return {self.names[0]: _turned(tensor, self.turn)}
        unit = tensor.shape[0] // sum(self.shares)
        parts = tensor.split([share * unit for share in self.shares])
        return {name: _turned(part, self.turn).contiguous() for name, part in zip(self.names, parts, strict=True)}


def places(names: Sequence[str], rows: Mapping[str, str]) -> dict[str, Place]:
    """The place of each of our tensors by the row that fits its name.

    Raises KeyError with the name of a tensor that no row is for.
    """
    patterns = [(re.compile(_pattern(ours)), theirs) for ours, theirs in rows.items()]
    return {name: _place(name, patterns) for name in names}


def _place(name: str, patterns: Sequence[tuple[re.Pattern[str], str]]) -> Place:
    for pattern, theirs in patterns:
        if match := pattern.fullmatch(name):
            template, _, turn = theirs.partition("^")
            for field, value in match.groupdict().items():
                template = template.replace(f"{{{field}}}", value)
            return _parts(template, turn)
    raise KeyError(name)


def _parts(template: str, turn: str) -> Place:
    alternatives = re.search(r"\{([^{}]*\|[^{}]*)\}", template)
    if not alternatives:
        return Place((template,), (1,), turn)
    before, after = template[: alternatives.start()], template[alternatives.end() :]
    parts = [part.partition(":") for part in alternatives[1].split("|")]
    return Place(
        tuple(f"{before}{part}{after}" for part, _, _ in parts), tuple(int(share or 1) for _, _, share in parts), turn
    )


def _pattern(template: str) -> str:
    return re.sub(r"\\{([ij])\\}", r"(?P<\1>\\d+)", re.escape(template)).replace(r"\{p\}", r"(?P<p>\w+)")


def _turned(tensor: Tensor, turn: str) -> Tensor:
    match turn:
        case "T":
            return tensor.T
        case "HWIO":
            return tensor.permute(2, 3, 1, 0)
        case "HWC":
            return tensor.permute(0, 2, 3, 1).flatten(1)
        case "1":
            return tensor[None]
    return tensor


def _turned_back(tensor: Tensor, turn: str) -> Tensor:
    match turn:
        case "T":
            return tensor.T
        case "HWIO":
            return tensor.permute(3, 2, 0, 1)
        case "HWC":
            side = round((tensor.shape[1] / 3) ** 0.5)
            return tensor.unflatten(1, (side, side, 3)).permute(0, 3, 1, 2)
        case "1":
            return tensor[0]
    return tensor
