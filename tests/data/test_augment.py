import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from making import jpeg
from PIL import Image

from diptych.config import from_dict, to_dict
from diptych.data.augment import DRAWS, Augmentation, colours, cropped, recolour, vary
from diptych.data.order import uniforms
from diptych.data.preprocess import decode_image, normalise, preprocess
from diptych.data.sources import open_source
from diptych.errors import ConfigError, DataError
from diptych.specs import PreprocessSpec

SPEC = PreprocessSpec(size=32)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def png(array_HWC: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array_HWC.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def draws(**fixed: float) -> np.ndarray:
    numbers = np.full(DRAWS, 0.5)
    for name, value in fixed.items():
        numbers[int(name[1:])] = value
    return numbers


def test_the_papers_crop_of_a_square_image_is_the_reference_transform():
    pixels = cropped(jpeg(3, (60, 60)), SPEC, Augmentation.paper(), draws(_2=0.9))
    expected = preprocess(decode_image(jpeg(3, (60, 60))), SPEC)
    assert (normalise(pixels[None], SPEC)[0] - expected).abs().max() < 1.5 / 255 / 0.26


def test_the_papers_crop_moves_along_the_long_side():
    ramp_HW = np.broadcast_to(np.arange(200), (100, 200))
    image = png(np.stack([ramp_HW] * 3, axis=2))
    left, middle, right = (cropped(image, SPEC, Augmentation.paper(), draws(_2=x)).float().mean() for x in (0, 0.5, 1))
    assert abs(left - 49.5) < 1
    assert abs(middle - 99.5) < 1
    assert abs(right - 149.5) < 1


@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    seed=st.integers(0, 99),
    resize=st.sampled_from(["shortest", "squash"]),
    largest=st.sampled_from([1.0, 4.0]),
)
@settings(max_examples=60, deadline=None)
def test_any_image_and_any_draw_give_a_full_square(width, height, seed, resize, largest):
    image = png(np.full((height, width, 3), 77))
    augmentation = Augmentation(scale=(0.01, largest), aspect=3.0)
    spec = PreprocessSpec(size=32, resize=resize)
    pixels = cropped(image, spec, augmentation, uniforms(seed, count=DRAWS))
    assert pixels.shape == (3, 32, 32)
    assert (pixels == 77).all()


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (1.0, 0.0), (0.5, 0.5)])
def test_a_frame_larger_than_the_image_repeats_its_edge(x, y):
    image_HWC = np.full((64, 64, 3), 200)
    image_HWC[8:-8, 8:-8] = 50
    pixels_HW = cropped(png(image_HWC), SPEC, Augmentation(scale=(4.0, 4.0)), draws(_2=x, _3=y))[0]
    dark = (pixels_HW < 125).nonzero()
    left, top = round(16 * x), round(16 * y)  # half as wide as the frame
    assert dark.min(dim=0).values.tolist() == [top + 2, left + 2]
    assert dark.max(dim=0).values.tolist() == [top + 13, left + 13]
    assert {int(pixels_HW[row, column]) for row in (0, -1) for column in (0, -1)} == {200}


def test_large_jpegs_are_decoded_small_without_changing_what_is_seen():
    image = jpeg(5, (1000, 800))
    small = cropped(image, SPEC, Augmentation(), draws())
    exact = cropped(png(np.asarray(decode_image(image))), SPEC, Augmentation(), draws())
    assert (small.float() - exact.float()).abs().max() < 4


def on_its_side(where: str) -> bytes:
    """A JPEG whose left half is white, and which is to be turned so that this half is its top."""
    exif = Image.Exif()
    exif[0x0112] = 6
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    halves = Image.new("RGB", (64, 32))
    halves.paste("white", (0, 0, 32, 32))
    buffer = io.BytesIO()
    halves.save(buffer, "JPEG", **({"xmp": xmp} if where == "xmp" else {"exif": exif}))
    comment = b"\xff\xfe" + (65_002).to_bytes(2) + b"x" * 65_000
    return buffer.getvalue().replace(b"\xff\xd8", b"\xff\xd8" + comment * (2 if "far" in where else 0), 1)


@pytest.mark.parametrize("where", ["exif", "xmp", "exif far in"])
def test_rotated_photographs_are_turned_before_they_are_cropped(where):
    image = on_its_side(where)
    assert decode_image(image).size == (32, 64)
    assert cropped(image, SPEC, Augmentation.paper(), draws(_3=0.0)).float().mean() > 240


@pytest.mark.parametrize("image", [jpeg(1)[:500], b"", b"\xff\xd8\xff junk", b"GIF89a"])
def test_what_cannot_be_decoded_is_a_data_error(image):
    with pytest.raises(DataError):
        cropped(image, SPEC, Augmentation.paper(), draws())


def sample_pixels() -> torch.Tensor:
    return torch.stack([cropped(jpeg(i), SPEC, Augmentation(), draws()) for i in range(8)])


def test_no_change_is_exactly_normalisation():
    pixels = sample_pixels()
    assert colours(pixels, Augmentation.paper(), np.full((8, DRAWS), 0.5)) is None
    assert torch.equal(recolour(pixels, None, SPEC), normalise(pixels, SPEC))
    neutral = colours(pixels, Augmentation(colour=0.5, hue=0.5), np.full((8, DRAWS), 0.5))
    assert (recolour(pixels, neutral, SPEC) - normalise(pixels, SPEC)).abs().max() < 1e-4


def restored(pixels_BCHW: torch.Tensor) -> torch.Tensor:
    std, mean = (torch.tensor(values).view(3, 1, 1) for values in (SPEC.std, SPEC.mean))
    return (pixels_BCHW * std + mean) * 255


def test_each_colour_change_does_what_its_name_says():
    pixels = sample_pixels()
    before = pixels.float()
    numbers = np.full((8, DRAWS), 0.5)
    numbers[:, 6] = 0.0
    darker = restored(recolour(pixels, colours(pixels, Augmentation(colour=0.5), numbers), SPEC))
    assert torch.allclose(darker, before * 0.5, atol=0.01)
    numbers = np.full((8, DRAWS), 0.5)
    numbers[:, 7] = 0.0
    flatter = restored(recolour(pixels, colours(pixels, Augmentation(colour=0.5), numbers), SPEC))
    assert torch.allclose(flatter.std(dim=(2, 3)), before.std(dim=(2, 3)) * 0.5, atol=0.05)
    numbers[:, 7], numbers[:, 10] = 0.5, 0.0
    grey = restored(recolour(pixels, colours(pixels, Augmentation(grey=0.5), numbers), SPEC))
    assert (grey.max(dim=1).values - grey.min(dim=1).values).max() < 1
    expected = (before * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(dim=1)
    assert torch.allclose(grey[:, 0], expected, atol=0.5)
    numbers[:, 10], numbers[:, 9] = 0.5, 1.0
    red = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    red[:, 0] = 150
    turned = restored(recolour(red, colours(red, Augmentation(hue=1 / 3), numbers[:1]), SPEC))[0].mean(dim=(1, 2))
    assert turned.argmax() != 0


def test_colours_stay_between_black_and_white():
    pixels = sample_pixels()
    numbers = uniforms(3, np.arange(8), count=DRAWS)
    result = restored(recolour(pixels, colours(pixels, Augmentation(colour=1.0, hue=0.5), numbers), SPEC))
    assert result.min() > -0.01
    assert result.max() < 255.01


def test_flip_turn_and_erase():
    pixels = sample_pixels()[0]
    mirrored = pixels.clone()
    vary(mirrored, Augmentation(flip=1.0), draws(), SPEC.mean)
    assert torch.equal(mirrored, pixels.flip(-1))
    quarter = pixels.clone()
    vary(quarter, Augmentation(rotation=90), draws(_5=1.0), SPEC.mean)
    turned = [torch.rot90(pixels, k, (1, 2)).int() for k in (1, 3)]
    assert min((quarter.int() - other).abs().max() for other in turned) <= 1
    for seed in range(20):
        erased = pixels.clone()
        vary(erased, Augmentation(erase=1.0), uniforms(seed, count=DRAWS), SPEC.mean)
        blank = (erased != pixels).any(dim=0).float().mean()
        assert 0.01 < blank < 0.25


def test_settings_travel_as_json_and_are_checked():
    strong = Augmentation.strong()
    assert from_dict(Augmentation, to_dict(strong)) == strong
    for wrong in ({"scale": (0.0, 1.0)}, {"scale": (0.9, 0.5)}, {"aspect": 0.5}, {"flip": 1.5}, {"hue": 0.6}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Augmentation(**wrong)


def test_real_photographs_decode_as_pillow_decodes_them(shared_data):
    for location in (shared_data / "cc12m_sample", shared_data / "flickr8k" / "val-0000.tar"):
        source = open_source(location)
        for i in range(32):
            image = source.read(i).image
            pixels_HWC = np.asarray(decode_image(image))
            spec = PreprocessSpec(size=min(pixels_HWC.shape[:2]))  # nothing is resized, nor decoded at half the size
            expected = cropped(pixels_HWC.copy(), spec, Augmentation.paper(), draws())
            assert torch.equal(cropped(image, spec, Augmentation.paper(), draws()), expected)
