"""Scenes as pictures: drawn with Pillow at twice the size and averaged down, so that edges are smooth."""

from __future__ import annotations

import functools
import math
from random import Random

from PIL import Image, ImageDraw

from diptych.data.scene_grammar import Scene, Thing

Colour = tuple[int, int, int]

RGB: dict[str, Colour] = {
    "red": (214, 40, 40),
    "yellow": (246, 205, 40),
    "green": (40, 148, 60),
    "blue": (36, 88, 204),
    "purple": (122, 52, 168),
    "pink": (246, 138, 184),
    "brown": (122, 76, 40),
    "white": (246, 246, 242),
    "black": (20, 20, 22),
    "orange": (242, 124, 28),
    "turquoise": (44, 190, 190),
    "grey": (124, 126, 130),
}
RADII = {"small": (0.16, 0.19), "big": (0.26, 0.30)}  # as shares of the picture's side; less among others
AMONG_OTHERS = 0.8
BACKDROPS = 16  # different pictures of each background; each is also mirrored at random


def draw(scene: Scene, random: Random, size: int) -> Image.Image:
    """``scene`` as an RGB picture of ``size`` x ``size``; ``random`` decides positions, turns and shades.

    The same state of ``random`` gives the same picture at any size, only sharper.
    """
    backdrop = _backdrop(scene.background, random.randrange(BACKDROPS), 2 * size)
    canvas = backdrop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else backdrop.copy()
    for thing, (x, y) in _places(scene, random):
        scale = 2 * size * (1.0 if scene.count == len(scene.things) == 1 else AMONG_OTHERS)
        _stamp(canvas, thing, (x, y), scale, random)
    return canvas.reduce(2)


def _places(scene: Scene, random: Random) -> list[tuple[Thing, tuple[float, float]]]:
    """Where each object's centre stands, in shares of the picture's side."""
    if scene.relation is not None:
        near, far = random.uniform(0.24, 0.29), random.uniform(0.71, 0.76)
        across = [random.uniform(0.3, 0.7) for _ in scene.things]
        along = (near, far) if scene.relation in ("left", "above") else (far, near)
        swap = scene.relation in ("above", "below")
        spots = [(b, a) if swap else (a, b) for a, b in zip(along, across, strict=True)]
        return list(zip(scene.things, spots, strict=True))
    if scene.count == 1:
        return [(scene.things[0], (random.uniform(0.3, 0.7), random.uniform(0.3, 0.7)))]
    corners = random.sample([(0.26, 0.26), (0.74, 0.26), (0.26, 0.74), (0.74, 0.74)], scene.count)
    return [(scene.things[0], (x + random.uniform(-0.03, 0.03), y + random.uniform(-0.03, 0.03))) for x, y in corners]


def _stamp(canvas: Image.Image, thing: Thing, centre: tuple[float, float], scale: float, random: Random) -> None:
    """One object with its shadow pasted onto ``canvas``; ``centre`` in shares of the side, ``scale`` in pixels."""
    side = canvas.width
    radius, turn = random.uniform(*RADII[thing.size]) * scale, random.uniform(-15, 15)
    shade = random.uniform(0.85, 1.08)
    r, g, b = (min(255, round(c * shade + random.uniform(-10, 10))) for c in RGB[thing.colour])
    mask = _outline(thing.shape, radius, turn)
    fill = Image.new("RGB", mask.size, (r, g, b))
    if thing.texture != "plain":
        # Light colours get darker marks and dark ones lighter: the colour must stay what it is called.
        target, share = (0, 0.38) if r + g + b > 390 else (255, 0.42)
        mark = tuple(round(c + (target - c) * share) for c in (r, g, b))
        _mark(ImageDraw.Draw(fill), thing.texture, mask.width, side, mark)
    left, top = (round(share * side - mask.width / 2) for share in centre)
    drop = max(1, round(0.016 * side))
    canvas.paste((20, 20, 30), (left + drop, top + drop), mask.point(_FAINT))
    canvas.paste(fill, (left, top), mask)


_FAINT = [i * 45 // 100 for i in range(256)]


def _outline(shape: str, radius: float, turn: float) -> Image.Image:
    """The mask of a shape about the middle of a square."""
    half = math.ceil(radius) + 1
    mask = Image.new("L", (2 * half, 2 * half))
    pen = ImageDraw.Draw(mask)
    if shape in ("circle", "ring"):
        outer = 0.92 * radius
        pen.ellipse((half - outer, half - outer, half + outer, half + outer), fill=255)
        if shape == "ring":
            inner = 0.5 * radius
            pen.ellipse((half - inner, half - inner, half + inner, half + inner), fill=0)
        return mask
    cosine, sine = math.cos(math.radians(turn)) * radius, math.sin(math.radians(turn)) * radius
    points = [(half + x * cosine - y * sine, half + x * sine + y * cosine) for x, y in _corners()[shape]]
    pen.polygon(points, fill=255)
    return mask


@functools.cache
def _corners() -> dict[str, list[tuple[float, float]]]:
    """Polygons inside the unit circle, y downwards."""

    def on_circle(degrees: float, radius: float = 1.0) -> tuple[float, float]:
        return radius * math.sin(math.radians(degrees)), -radius * math.cos(math.radians(degrees))

    steps = [i / 24 for i in range(25)]
    arm = 0.3
    quarter = [(arm, -0.95), (arm, -arm), (0.95, -arm), (0.95, arm), (arm, arm), (arm, 0.95)]
    heart = [
        (math.sin(a) ** 3, -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)) / 16)
        for a in (2 * math.pi * t for t in steps)
    ]
    outer = [on_circle(20 + 320 * t) for t in steps]  # the open side looks up
    bite = [(0.62 * x, 0.62 * y - 0.42) for x, y in (on_circle(330 - 300 * t) for t in steps)]
    return {
        "square": [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
        "triangle": [on_circle(0), on_circle(120), on_circle(240)],
        "star": [on_circle(36 * i, 1.0 if i % 2 == 0 else 0.42) for i in range(10)],
        "heart": [(0.95 * x, 0.9 * y - 0.05) for x, y in heart],
        "cross": quarter + [(-x, -y) for x, y in quarter],
        "moon": outer + bite,
    }


def _mark(pen: ImageDraw.ImageDraw, texture: str, width: int, side: int, colour: tuple[int, ...]) -> None:
    """Stripes or dots over a square of ``width``, their spacing a share of the whole picture's ``side``."""
    step = 0.075 * side
    lines = math.ceil(width / step)
    if texture == "striped":
        for i in range(lines):
            pen.rectangle((0, i * step, width, i * step + 0.42 * step), fill=colour)
        return
    dot = 0.3 * step
    for i in range(lines):
        for j in range(lines):
            x, y = (j + 0.5 * (i % 2)) * step, i * step
            pen.ellipse((x - dot, y - dot, x + dot, y + dot), fill=colour)


@functools.lru_cache(maxsize=1024)
def _backdrop(kind: str, number: int, side: int) -> Image.Image:
    random = Random(f"{kind} {number}")
    return _BACKDROPS[kind](random, side)


def _tint(random: Random, colour: Colour, spread: int = 10) -> Colour:
    shift = random.randint(-spread, spread)
    r, g, b = (max(0, min(255, c + shift + random.randint(-4, 4))) for c in colour)
    return r, g, b


def _gradient(top: Colour, bottom: Colour, side: int) -> Image.Image:
    ramp = Image.linear_gradient("L").resize((side, side))
    return Image.composite(Image.new("RGB", (side, side), bottom), Image.new("RGB", (side, side), top), ramp)


def _grass(random: Random, side: int) -> Image.Image:
    base = _tint(random, (142, 186, 96))
    image = _gradient(_tint(random, base), _tint(random, base), side)
    pen = ImageDraw.Draw(image)
    for _ in range(110):
        x, y, lean = random.random() * side, random.random() * side, random.uniform(-0.02, 0.02) * side
        blade = _tint(random, (120, 168, 78), 14)
        pen.line((x, y, x + lean, y - 0.06 * side), fill=blade, width=max(1, side // 90))
    return image


def _sky(random: Random, side: int) -> Image.Image:
    image = _gradient(_tint(random, (136, 190, 232)), _tint(random, (206, 230, 246)), side)
    pen = ImageDraw.Draw(image)
    for _ in range(3):
        x, y, r = random.random() * side, random.random() * side, random.uniform(0.05, 0.09) * side
        for i in (-1, 0, 1):
            s = r * (1.0 if i == 0 else 0.7)
            pen.ellipse((x + i * r - s, y - s, x + i * r + s, y + s), fill=(228, 240, 250))
    return image


def _night(random: Random, side: int) -> Image.Image:
    image = _gradient(_tint(random, (38, 42, 92), 6), _tint(random, (78, 78, 142), 6), side)
    pen = ImageDraw.Draw(image)
    for _ in range(30):
        x, y, r = random.random() * side, random.random() * side, random.uniform(0.004, 0.009) * side
        pen.ellipse((x - r, y - r, x + r, y + r), fill=_tint(random, (190, 190, 170), 40))
    return image


def _sand(random: Random, side: int) -> Image.Image:
    image = _gradient(_tint(random, (228, 208, 166)), _tint(random, (214, 190, 144)), side)
    pen = ImageDraw.Draw(image)
    for _ in range(160):
        x, y, r = random.random() * side, random.random() * side, 0.006 * side
        pen.ellipse((x - r, y - r, x + r, y + r), fill=_tint(random, (196, 170, 124), 16))
    return image


def _paper(random: Random, side: int) -> Image.Image:
    image = Image.new("RGB", (side, side), _tint(random, (226, 228, 222), 8))
    pen = ImageDraw.Draw(image)
    offset, step = random.random(), 0.125 * side
    for i in range(9):
        at = (i + offset) * step
        pen.line((at, 0, at, side), fill=(176, 196, 214), width=max(1, side // 80))
        pen.line((0, at, side, at), fill=(176, 196, 214), width=max(1, side // 80))
    return image


def _tiles(random: Random, side: int) -> Image.Image:
    image = Image.new("RGB", (side, side), _tint(random, (206, 196, 214)))
    pen = ImageDraw.Draw(image)
    dark, step, offset = _tint(random, (182, 168, 194)), 0.25 * side, random.random()
    for i in range(-1, 5):
        for j in range(-1, 5):
            if (i + j) % 2:
                x, y = (i + offset) * step, (j + offset) * step
                pen.rectangle((x, y, x + step - 1, y + step - 1), fill=dark)
    return image


_BACKDROPS = {"grass": _grass, "sky": _sky, "night": _night, "sand": _sand, "paper": _paper, "tiles": _tiles}
