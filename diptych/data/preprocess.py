"""From anything that is an image to the pixels a tower expects: decode, resize, crop, normalise.

The transform is the one the released CLIP weights were trained and evaluated with (paper page, section 1) and gives the
same tensors, bit for bit. How odd images are read:

    palette, grey, 1-bit   expanded to RGB
    alpha                  dropped, not blended: the colours stored under transparent pixels show, as in the reference
    16-bit, 32-bit integer scaled to 8 bits (Pillow alone would clip them to white)
    CMYK, YCbCr, Lab, HSV  converted to RGB
    EXIF orientation       applied, so that the model sees what a person sees (the reference ignores it)
    animation              its first frame
    anything broken        DataError: truncated, empty, no image, missing, or more than MAX_PIXELS once decoded
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from diptych.data.files import printable
from diptych.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from diptych.specs import PreprocessSpec

ImageLike = str | Path | bytes | Image.Image | np.ndarray

# Larger images are taken for decompression bombs and refused by their header, before memory is asked for.
MAX_PIXELS = 89_478_485

# Pillow reads many more formats; some run other programs (EPS) or have no signature (TGA), so the list is closed.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO")

_ORIENTATION = 0x0112
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def decode_image(image: ImageLike) -> Image.Image:
    """A path, encoded bytes, Pillow image or ``(height, width[, channels])`` array as an upright Pillow image in RGB.

    Arrays are uint8, uint16 or bool with 1, 3 or 4 channels. Raises DataError, naming the image, for whatever cannot be
    read in full.
    """
    name = _name(image)
    try:
        if isinstance(image, Image.Image):
            return _rgb(image, name)
        if isinstance(image, np.ndarray):
            return _rgb(_from_array(image, name), name)
        if isinstance(image, str | os.PathLike):
            with open(image, "rb", opener=_opened) as file:
                image = file.read()
        if not image:
            raise DataError(f"{name} is empty (0 bytes)")
        with Image.open(io.BytesIO(image), formats=FORMATS) as opened:
            return _rgb(opened, name)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file") from error
    except PermissionError as error:
        raise DataError(f"{name} may not be read") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{name} has more than {MAX_PIXELS:,} pixels; is it a decompression bomb?") from error
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{name} is not an image of a known format ({', '.join(FORMATS)})") from error
    except Exception as error:  # decoders meet hostile files with every kind of exception
        raise DataError(f"{name} cannot be decoded: {type(error).__name__}: {error}") from error


def preprocess(image: Image.Image, spec: PreprocessSpec) -> Tensor:
    """The reference transform: ``(3, size, size)`` float32, normalised by the mean and deviation of the spec.

    >>> from diptych.specs import PreprocessSpec
    >>> preprocess(Image.new("RGB", (640, 480)), PreprocessSpec(size=224)).shape
    torch.Size([3, 224, 224])
    """
    return normalise(resize_and_crop(image, spec)[None], spec)[0]


def resize_and_crop(image: Image.Image, spec: PreprocessSpec) -> Tensor:
    """The geometric half of the transform: ``(3, size, size)`` uint8.

    Raises DataError for an image so narrow that its resized form would exceed MAX_PIXELS.
    """
    size = spec.size
    width, height = _resized(image, spec)
    if width * height > MAX_PIXELS:
        raise DataError(f"an image of {image.width} x {image.height} is too narrow to be resized to {width} x {height}")
    resized = image.resize((width, height), _FILTERS[spec.interpolation])
    left, top = round((width - size) / 2), round((height - size) / 2)
    cropped = resized.crop((left, top, left + size, top + size))
    import torch  # takes seconds, and most of what reads data needs none of it

    return torch.from_numpy(np.array(cropped)).permute(2, 0, 1).contiguous()


def normalise(pixels_BCHW: Tensor, spec: PreprocessSpec) -> Tensor:
    """uint8 pixels in 0..255 as float32 with the mean and deviation of the spec taken out, as towers expect them."""
    return normalise_in_place(pixels_BCHW.float(), spec)


def normalise_in_place(pixels_BCHW: Tensor, spec: PreprocessSpec) -> Tensor:
    """`normalise` of pixels that are float32 already, in 0..255: they themselves are changed, and returned."""
    mean_C11 = pixels_BCHW.new_tensor(spec.mean).view(3, 1, 1)
    std_C11 = pixels_BCHW.new_tensor(spec.std).view(3, 1, 1)
    return pixels_BCHW.div_(255).sub_(mean_C11).div_(std_C11)


def _resized(image: Image.Image, spec: PreprocessSpec) -> tuple[int, int]:
    target = spec.resize_to or spec.size
    if spec.resize == "squash":
        return target, target
    short = min(image.size)
    # Multiplied before it is divided, then cut: the reference's rounding, on which the crop's position depends.
    width, height = (int(target * side / short) for side in image.size)
    return width, height


def _opened(path: str, flags: int) -> int:
    """Opens a path without waiting: a pipe may be an image, but one that nobody writes to is an empty one."""
    if not hasattr(os, "O_NONBLOCK"):
        return os.open(path, flags)
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def _name(image: ImageLike) -> str:
    if isinstance(image, str | os.PathLike):
        return printable(image)
    if isinstance(image, bytes | bytearray | memoryview):
        return f"an image of {len(image):,} bytes"
    if isinstance(image, np.ndarray):
        return f"an array of shape {image.shape} and type {image.dtype}"
    if isinstance(image, Image.Image):
        return getattr(image, "filename", "") or f"a Pillow image of mode {image.mode} and size {image.size}"
    raise DataError(f"a {type(image).__name__} is not an image; pass a path, bytes, a Pillow image or a numpy array")


def _from_array(array_HWC: np.ndarray, name: str) -> Image.Image:
    if array_HWC.dtype == bool:
        array_HWC = array_HWC.astype(np.uint8) * 255
    if array_HWC.dtype == np.uint16:
        array_HWC = (array_HWC >> 8).astype(np.uint8)
    if array_HWC.dtype != np.uint8:
        raise DataError(f"{name} is not uint8, uint16 or bool; scale it to uint8 in 0..255")
    if array_HWC.ndim == 3 and array_HWC.shape[2] == 1:
        array_HWC = array_HWC[:, :, 0]
    if array_HWC.ndim != 2 and (array_HWC.ndim != 3 or array_HWC.shape[2] not in (3, 4)):
        raise DataError(f"{name} is not an image of shape (height, width) or (height, width, 1, 3 or 4)")
    return Image.fromarray(np.ascontiguousarray(array_HWC))


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.width * image.height > MAX_PIXELS:
        raise DataError(
            f"{name} is {image.width} x {image.height}, more than {MAX_PIXELS:,} pixels; is it a decompression bomb?"
        )
    if not image.width or not image.height:
        raise DataError(f"{name} has no pixels")
    image.load()
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode == "RGB":
        return image
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image, name).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the same colours; Pillow warns about the direct way
    return image.convert("RGB")


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Grey of 16 or 32 bits, whose files use 16 bits in practice, or of floats from 0 to 1, as grey of 8."""
    values_HW = np.asarray(image)
    if image.mode == "F":
        if not (values_HW.min() >= 0 and values_HW.max() <= 1):
            raise DataError(f"{name} holds floats outside 0..1; scale it to 8 bits")
        return Image.fromarray(np.rint(values_HW * 255).astype(np.uint8))
    return Image.fromarray((values_HW.clip(0, 65_535) >> 8).astype(np.uint8))
