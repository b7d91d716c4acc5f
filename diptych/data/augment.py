"""Training augmentation: from encoded image to uint8 pixels, cheap enough for the processors that also train.

The crop is cut before anything is resized, so that only its pixels are touched; the rest is done at the final size.
All colour changes of an image are one affine map of RGB, and so is normalisation: together they are one pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
import torch
import torch.nn.functional as F

from diptych.data.files import read_bytes
from diptych.data.preprocess import MAX_PIXELS, decode_image, normalise_in_place
from diptych.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from diptych.specs import PreprocessSpec

MAX_SCALE = 4.0  # a frame twice as wide as the image
DRAWS = 16  # random numbers that one image uses, each with its own place below

# Luma and two chroma axes (NTSC): a hue shift turns the chroma plane.
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])

_BLOCK = 200_000  # numbers that stay in a core's cache from one pass over them to the next


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How much images vary from visit to visit; the default is the paper's: a random square of the resized image.

    scale:    smallest and largest area of the crop, 1 being the largest square that fits; above 1 the image stands
              somewhere in a larger frame, which is filled from its edge (drawings on white, say)
    aspect:   the crop's width : height is drawn between 1 / aspect and aspect
    flip:     probability of mirroring left and right
    rotation: largest turn either way, in degrees; corners are filled from the edge
    colour:   brightness, contrast and saturation each vary by a factor of 1 - colour to 1 + colour
    hue:      largest turn of the hue either way, 0.5 being all colours
    grey:     probability of losing colour
    erase:    probability that a rectangle of 2 to 20 % of the area is blanked
    """

    scale: tuple[float, float] = (1.0, 1.0)
    aspect: float = 1.0
    flip: float = 0.0
    rotation: float = 0.0
    colour: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    erase: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= MAX_SCALE:
            raise ConfigError(f"Augmentation.scale must be two ascending areas in (0, {MAX_SCALE}], not {self.scale}")
        if not 1 <= self.aspect < math.inf:
            raise ConfigError(f"Augmentation.aspect must be at least 1, not {self.aspect}")
        for name, largest in {"flip": 1, "rotation": 180, "colour": 1, "hue": 0.5, "grey": 1, "erase": 1}.items():
            if not 0 <= getattr(self, name) <= largest:
                raise ConfigError(f"Augmentation.{name} must be in [0, {largest}], not {getattr(self, name)}")

    @classmethod
    def paper(cls) -> Augmentation:
        """A random square crop of the resized image and nothing else (paper, section 2.5)."""
        return cls()

    @classmethod
    def strong(cls) -> Augmentation:
        """For small data sets, whose images are seen many times."""
        return cls(scale=(0.35, 1.0), aspect=4 / 3, flip=0.5, colour=0.2, hue=0.03, grey=0.1, erase=0.25)


def cropped(
    image: bytes | Path | np.ndarray, spec: PreprocessSpec, augmentation: Augmentation, draws: np.ndarray
) -> Tensor:
    """Decode an image and resize a random crop of it: ``(3, size, size)`` uint8. ``draws``: DRAWS numbers in [0, 1).

    JPEGs much larger than needed are decoded at a fraction of their size. Raises DataError as `decode_image` does.
    """
    decode, width, height = _opened(image)
    area = augmentation.scale[0] + draws[0] * (augmentation.scale[1] - augmentation.scale[0])
    ratio = augmentation.aspect ** (2 * draws[1] - 1)
    if spec.resize == "squash":
        box_width, box_height = width * math.sqrt(area * ratio), height * math.sqrt(area / ratio)
    else:
        box_width, box_height = (min(width, height) * math.sqrt(area * r) for r in (ratio, 1 / ratio))
    most = max(1.0, math.sqrt(augmentation.scale[1]))  # an odd aspect alone never reaches beyond the image
    box_width, box_height = min(box_width / width, most), min(box_height / height, most)
    pixels_HWC = decode(spec.size / box_width, spec.size / box_height)
    height, width = pixels_HWC.shape[:2]
    box_width, box_height = (max(1, round(share * side)) for share, side in ((box_width, width), (box_height, height)))
    left, top = round(draws[2] * (width - box_width)), round(draws[3] * (height - box_height))
    crop_HWC = _framed(pixels_HWC, top, left, box_height, box_width)
    crop_CHW = torch.from_numpy(crop_HWC).permute(2, 0, 1)
    if crop_CHW.shape[1:] == (spec.size, spec.size):
        return crop_CHW
    return F.interpolate(crop_CHW[None], (spec.size, spec.size), mode=spec.interpolation, antialias=True)[0]


def _framed(pixels_HWC: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A box cut from an image; what lies outside of the image repeats its edge."""
    crop_HWC = pixels_HWC[max(0, top) : top + height, max(0, left) : left + width]
    if crop_HWC.shape[:2] == (height, width):
        return crop_HWC
    below, right = top + height - pixels_HWC.shape[0], left + width - pixels_HWC.shape[1]
    return np.pad(crop_HWC, ((max(0, -top), max(0, below)), (max(0, -left), max(0, right)), (0, 0)), mode="edge")


def vary(pixels_CHW: Tensor, augmentation: Augmentation, draws: np.ndarray, fill: tuple[float, float, float]) -> None:
    """Flip, turn and erase one image, uint8, in place; colours are left to `recolour`. ``fill``: RGB in [0, 1]."""
    if draws[4] < augmentation.flip:
        pixels_CHW.copy_(pixels_CHW.flip(-1))
    if augmentation.rotation:
        pixels_CHW.copy_(_turned(pixels_CHW, (2 * draws[5] - 1) * math.radians(augmentation.rotation)))
    if draws[11] < augmentation.erase:
        top, bottom, left, right = _rectangle(draws[12:16], pixels_CHW.shape[-1])
        pixels_CHW[:, top:bottom, left:right] = torch.tensor([round(255 * value) for value in fill]).view(3, 1, 1)


def colours(pixels_BCHW: Tensor, augmentation: Augmentation, draws: np.ndarray) -> np.ndarray | None:
    """The colour change of each image as an affine map of RGB in 0..255: ``(B, 3, 4)`` float32; None for no change.

    It is returned instead of applied because `recolour` does it in the same pass as normalisation. ``draws``: ``(B,
    DRAWS)``.
    """
    if not (augmentation.colour or augmentation.hue or augmentation.grey):
        return None
    brightness_B, contrast_B, saturation_B = 1 + (2 * draws[:, 6:9].T - 1) * augmentation.colour
    saturation_B = np.where(draws[:, 10] < augmentation.grey, 0.0, saturation_B)
    turn_B = (2 * draws[:, 9] - 1) * augmentation.hue * 2 * math.pi
    chroma_B33 = np.zeros((len(draws), 3, 3))
    chroma_B33[:, 0, 0] = 1
    chroma_B33[:, 1, 1] = chroma_B33[:, 2, 2] = np.cos(turn_B) * saturation_B
    chroma_B33[:, 2, 1] = np.sin(turn_B) * saturation_B
    chroma_B33[:, 1, 2] = -chroma_B33[:, 2, 1]
    matrix_B33 = np.linalg.inv(_TO_YIQ) @ chroma_B33 @ _TO_YIQ * (brightness_B * contrast_B)[:, None, None]
    # Contrast is about the mean luma, which neither hue nor saturation changes; every 16th pixel tells it well enough.
    luma_B = pixels_BCHW[:, :, 2::4, 2::4].numpy().mean(axis=(2, 3)) @ _TO_YIQ[0]
    offset_B = (1 - contrast_B) * brightness_B * luma_B
    offset_B31 = np.broadcast_to(offset_B[:, None, None], (len(draws), 3, 1))
    return np.concatenate([matrix_B33, offset_B31], axis=2).astype(np.float32)


def recolour(pixels_BCHW: Tensor, colours_B34: np.ndarray | None, spec: PreprocessSpec) -> Tensor:
    """uint8 pixels with their colour changes applied, and normalised: float32, as towers expect them."""
    result = torch.empty(pixels_BCHW.shape, dtype=torch.float32)
    if colours_B34 is not None:
        mean_31, std_31 = (torch.tensor(values).view(3, 1) for values in (spec.mean, spec.std))
        matrix_B33 = torch.from_numpy(colours_B34[:, :, :3]) / (255 * std_31)
        offset_B31 = (torch.from_numpy(colours_B34[:, :, 3:]) / 255 - mean_31) / std_31
        black_31, white_31 = -mean_31 / std_31, (1 - mean_31) / std_31
    images = max(1, _BLOCK // (3 * spec.size**2))
    for first in range(0, len(result), images):
        block = slice(first, first + images)
        if colours_B34 is None:
            normalise_in_place(result[block].copy_(pixels_BCHW[block]), spec)
        else:
            out_BCN = result[block].flatten(2)
            torch.baddbmm(offset_B31[block], matrix_B33[block], pixels_BCHW[block].float().flatten(2), out=out_BCN)
            torch.clamp(out_BCN, black_31, white_31, out=out_BCN)
    return result


def _opened(image: bytes | Path | np.ndarray) -> tuple[Callable[[float, float], np.ndarray], int, int]:
    """A decoder and the image's width and height. The decoder takes the least width and height that are of use."""
    if isinstance(image, np.ndarray):
        return lambda *_: image, image.shape[1], image.shape[0]
    data = read_bytes(image) if isinstance(image, Path) else image
    # With EXIF, or XMP that says so, the image may have to be turned; that, and all that is not a plain JPEG, is left
    # to Pillow. Both may stand behind any amount of other metadata.
    if data[:2] == b"\xff\xd8" and b"Exif\0" not in data and b"tiff:Orientation" not in data:
        try:
            *shape, kind, _ = simplejpeg.decode_jpeg_header(data)
        except ValueError:
            kind = ""
        if kind in ("YCbCr", "RGB", "Gray"):
            height, width = map(int, shape)
            if width * height > MAX_PIXELS:
                raise DataError(f"{width} x {height} are more than {MAX_PIXELS:,} pixels; is it a decompression bomb?")
            return lambda least_width, least_height: _decoded_jpeg(data, least_width, least_height), width, height
    pixels_HWC = np.array(decode_image(image if isinstance(image, Path) else data))
    return lambda *_: pixels_HWC, pixels_HWC.shape[1], pixels_HWC.shape[0]


def _decoded_jpeg(data: bytes, least_width: float, least_height: float) -> np.ndarray:
    try:
        return simplejpeg.decode_jpeg(
            data, "RGB", min_width=math.ceil(least_width), min_height=math.ceil(least_height), min_factor=2
        )
    except ValueError:  # damaged in some way: Pillow decides whether it can be read at all
        return np.array(decode_image(data))


def _turned(pixels_CHW: Tensor, angle: float) -> Tensor:
    cosine, sine = math.cos(angle), math.sin(angle)
    theta_B23 = torch.tensor([[[cosine, -sine, 0.0], [sine, cosine, 0.0]]])
    grid = F.affine_grid(theta_B23, [1, *pixels_CHW.shape], align_corners=False)
    return F.grid_sample(pixels_CHW[None].float(), grid, padding_mode="border", align_corners=False)[0].round_()


def _rectangle(draws: np.ndarray, size: int) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of 2 to 20 % of the area, at most twice as long as wide."""
    area, shape = 0.02 + 0.18 * draws[0], 2 ** (2 * draws[1] - 1)
    width, height = round(size * math.sqrt(area * shape)), round(size * math.sqrt(area / shape))
    left, top = round(draws[2] * (size - width)), round(draws[3] * (size - height))
    return top, top + height, left, left + width
