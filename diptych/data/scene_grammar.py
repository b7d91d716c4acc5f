"""What a drawn scene can hold, and how it is put into words."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "moon")
COLOURS = (
    *("red", "yellow", "green", "blue", "purple", "pink"),
    *("brown", "white", "black", "orange", "turquoise", "grey"),
)
TEXTURES = ("plain", "striped", "dotted")
SIZES = ("small", "big")
BACKGROUNDS = {
    "grass": ("on grass", "on the lawn"),
    "sky": ("in the sky", "in front of the sky"),
    "night": ("at night", "in the night"),
    "sand": ("on sand", "on the beach"),
    "paper": ("on paper", "on graph paper"),
    "tiles": ("on tiles", "on a tiled floor"),
}
COUNTS = {2: "two", 3: "three", 4: "four"}
RELATIONS = {  # the relation, ways to say it, and the relation seen from the other thing
    "left": (("left of", "to the left of"), "right"),
    "right": (("right of", "to the right of"), "left"),
    "above": (("above", "over"), "below"),
    "below": (("below", "under"), "above"),
}
PAIRS = tuple((colour, shape) for shape in SHAPES for colour in COLOURS)
"""Every colour-shape pair."""

# One colour of each shape, so that every word is seen in training, but these never together.
UNSEEN = tuple(zip(COLOURS, SHAPES, strict=False))
"""The pairs that no training scene shows, not even among other things."""
SEEN = tuple(pair for pair in PAIRS if pair not in UNSEEN)

CLASS_NAMES = tuple(f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {shape}" for colour, shape in PAIRS)
TEMPLATES = ("{}", "a picture of {}", "there is {}")


# Share of training captions that leave a thing's colour unsaid. Colours are learned in a hundred steps and then tell
# most scenes apart; where they are not said, shapes have to be looked at, whatever their colour.
WITHOUT_COLOUR = 0.4


@dataclass(frozen=True)
class Thing:
    """One kind of object."""

    colour: str
    shape: str
    texture: str
    size: str


@dataclass(frozen=True)
class Scene:
    """One thing, ``count`` of one thing, or two things in a ``relation``, before a ``background``."""

    things: tuple[Thing, ...]
    background: str
    count: int = 1
    relation: str | None = None


def compose(random: Random, pairs: tuple[tuple[str, str], ...], *, alone: bool = False) -> Scene:
    """A scene drawn at random from the colour-shape ``pairs`` allowed; ``alone``: always a single object."""
    kind = 0.0 if alone else random.random()
    background = random.choice(tuple(BACKGROUNDS))
    first = _thing(random, pairs)
    if kind < 0.74:
        return Scene((first,), background)
    if kind < 0.82:
        return Scene((first,), background, count=random.choice(tuple(COUNTS)))
    second = _thing(random, tuple(pair for pair in pairs if pair != (first.colour, first.shape)))
    return Scene((first, second), background, relation=random.choice(tuple(RELATIONS)))


def caption(scene: Scene, random: Random, *, detail: float) -> str:
    """One way to say what a scene shows; each of texture, size and background is said with probability ``detail``."""
    if scene.relation is None:
        words = _describe(scene.things[0], random, detail, scene.count)
    else:
        first, second, relation = *scene.things, scene.relation
        if random.random() < 0.5:
            first, second, relation = second, first, RELATIONS[relation][1]
        joint = random.choice(RELATIONS[relation][0])
        words = f"{_describe(first, random, detail)} {joint} {_describe(second, random, detail)}"
    background = random.random() < detail
    where = random.choice(BACKGROUNDS[scene.background])
    form = random.random()
    if background:
        words = f"{where}, {words}" if form < 0.2 else f"{words} {where}"
    elif form < 0.2:
        words = f"a picture of {words}"
    elif form < 0.4:
        words = f"there {'are' if scene.count > 1 else 'is'} {words}"
    return words


def _thing(random: Random, pairs: tuple[tuple[str, str], ...]) -> Thing:
    colour, shape = random.choice(pairs)
    texture = random.choice(("plain", *TEXTURES))  # half of all things are plain
    return Thing(colour, shape, texture, random.choice(SIZES))


def _describe(thing: Thing, random: Random, detail: float, count: int = 1) -> str:
    words = []
    if random.random() < detail:
        words.append(thing.size)
    if random.random() < detail and thing.texture != "plain":
        words.append(thing.texture)
    if detail == 1 or random.random() >= WITHOUT_COLOUR:
        words.append(thing.colour)
    words.append(thing.shape if count == 1 else _plural(thing.shape))
    article = "an" if words[0][0] in "aeiou" else "a"
    number = COUNTS[count] if count > 1 else "one" if random.random() < 0.15 else article
    return " ".join((number, *words))


def _plural(shape: str) -> str:
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"
