import dataclasses
import io
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.data.preprocess import decode_image, preprocess
from diptych.errors import ConfigError, DataError
from diptych.specs import PreprocessSpec

SPEC = PreprocessSpec(size=224)


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(height: int = 40, width: int = 60) -> Image.Image:
    ramp_HW = np.add.outer(np.arange(height) * 3, np.arange(width) * 2)
    return Image.fromarray(np.stack([ramp_HW, ramp_HW[::-1], ramp_HW // 2], axis=2).astype(np.uint8))


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises far more pixels than its few bytes hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_the_reference_tensors_come_out_bit_for_bit(shared_data):
    folder = shared_data / "reference" / "preprocess"
    with np.load(folder / "preprocess_and_embeddings.npz") as reference:
        for name, expected in zip(reference["names"], reference["tensors"], strict=True):
            pixels = preprocess(decode_image(folder / f"{name}.jpg"), SPEC)
            assert torch.equal(pixels, torch.from_numpy(expected)), name


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "HSV", "I", "I;16", "F"])
def test_every_mode_becomes_rgb(mode):
    image = Image.new(mode, (30, 20))
    assert decode_image(image).mode == "RGB"
    assert preprocess(decode_image(image), PreprocessSpec(size=16)).shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", mode) for mode in ("P", "1", "LA", "RGBA")]
    + [("JPEG", "L"), ("JPEG", "CMYK"), ("GIF", "P"), ("WEBP", "RGBA"), ("BMP", "RGB")]
    + [("TIFF", "RGB"), ("TIFF", "CMYK"), ("PPM", "RGB"), ("JPEG2000", "RGB")],
)
def test_formats_decode_as_pillow_converts_them(kind, mode):
    data = encode(gradient().convert(mode), kind)
    with Image.open(io.BytesIO(data)) as opened:
        assert np.array_equal(decode_image(data), opened.convert("RGB"))


def test_sixteen_bits_are_scaled_not_clipped():
    grey_HW = np.arange(0, 65_536, 64, dtype=np.uint16).reshape(32, 32)
    for image in (encode(Image.fromarray(grey_HW)), encode(Image.fromarray(grey_HW), "TIFF"), grey_HW):
        assert np.array_equal(np.asarray(decode_image(image))[:, :, 0], grey_HW >> 8)


def test_a_palette_with_transparency_keeps_its_colours():
    image = gradient().quantize(8)
    image.info["transparency"] = bytes([0, 128, 255])
    assert np.array_equal(decode_image(image), image.convert("RGBA").convert("RGB"))


def test_alpha_is_dropped_not_blended():
    image = Image.new("RGBA", (4, 4), (200, 100, 50, 0))
    assert decode_image(encode(image)).getpixel((0, 0)) == (200, 100, 50)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(encode(gradient(40, 60), "JPEG", exif=exif, quality=95))
    assert decoded.size == ((60, 40) if orientation <= 4 else (40, 60))


def test_an_animation_gives_its_first_frame():
    first, second = gradient(), Image.new("RGB", (60, 40), "red")
    data = encode(first.quantize(256), "GIF", save_all=True, append_images=[second.quantize(256)])
    assert decode_image(data).getpixel((0, 0)) != (255, 0, 0)


def test_arrays_and_paths_decode(tmp_path):
    image = gradient()
    image.save(tmp_path / "a.png")
    array_HWC = np.asarray(image)
    for other in (tmp_path / "a.png", str(tmp_path / "a.png"), array_HWC, array_HWC[:, ::-1][:, ::-1]):
        assert np.array_equal(decode_image(other), array_HWC)
    assert decode_image(array_HWC[:, :, :1]).mode == "RGB"
    assert decode_image(array_HWC[:, :, 0] > 9).getpixel((59, 39)) == (255, 255, 255)


def test_a_pipe_may_be_an_image():
    for data in (encode(gradient()), b""):
        read, write = os.pipe()
        os.write(write, data)
        os.close(write)
        try:
            if data:
                assert decode_image(f"/dev/fd/{read}").size == (60, 40)
            else:
                with pytest.raises(DataError, match="empty"):
                    decode_image(f"/dev/fd/{read}")
        finally:
            os.close(read)


JPEG = encode(gradient(200, 300), "JPEG")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"", "empty"),
        (b"<html>404 not found</html>", "not an image"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (JPEG[:30], "cannot be decoded|not an image"),
        (encode(gradient())[:-60], "cannot be decoded"),
        (bomb(60_000, 60_000), "decompression bomb"),
        (bomb(10_000, 10_000), "decompression bomb"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        ("nowhere/cat.jpg", "nowhere/cat.jpg: no such file"),
        ("diptych", "diptych"),
        (np.zeros((3, 8, 9), np.uint8), r"\(3, 8, 9\)"),
        (np.zeros((8, 9, 3), np.float32), "uint8"),
        (np.zeros((0, 9, 3), np.uint8), "no pixels|cannot be decoded"),
        (np.full((4, 4), 300, np.int32), "uint8"),
        (Image.fromarray(np.full((4, 4), 7, np.float32)), "floats"),
        (17, "int is not an image"),
    ],
)
def test_what_cannot_be_read_is_named(image, message):
    with pytest.raises(DataError, match=message):
        decode_image(image)


def test_an_image_too_narrow_to_be_resized_is_refused():
    with pytest.raises(DataError, match="too narrow"):
        preprocess(Image.new("RGB", (1, 60_000)), SPEC)


def test_resizing_beyond_the_crop_leaves_an_edge_out():
    image = gradient(80, 120)
    spec = PreprocessSpec(size=32, resize_to=40, mean=(0, 0, 0), std=(1, 1, 1))
    by_hand = image.resize((60, 40), Image.Resampling.BICUBIC).crop((14, 4, 46, 36))
    expected = torch.from_numpy(np.array(by_hand)).permute(2, 0, 1) / 255
    assert torch.equal(preprocess(image, spec), expected)
    squashed = dataclasses.replace(spec, resize="squash")
    by_hand = image.resize((40, 40), Image.Resampling.BICUBIC).crop((4, 4, 36, 36))
    assert torch.equal(preprocess(image, squashed), torch.from_numpy(np.array(by_hand)).permute(2, 0, 1) / 255)
    with pytest.raises(ConfigError, match="resize_to"):
        PreprocessSpec(size=32, resize_to=31)


def test_squash_keeps_the_whole_image_and_shortest_its_centre():
    image = Image.new("RGB", (90, 30), "black")
    image.paste("white", (0, 0, 30, 30))
    squashed = preprocess(image, PreprocessSpec(size=30, resize="squash"))
    cropped = preprocess(image, PreprocessSpec(size=30))
    assert squashed[0].max() > 1
    assert cropped[0].max() < 0


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (7, 7), (223, 224)])
def test_any_shape_fills_the_square(size):
    assert preprocess(Image.new("RGB", size), SPEC).shape == (3, 224, 224)
