"""Templates: sentences around a class name, so that a label reads like a caption (paper, section 3.1.4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diptych.errors import ConfigError, nearest
from diptych.text.prompt_sets import PROMPT_SETS, PromptSet

PLACEHOLDERS = ("{}", "{c}")

_PHOTO_ENSEMBLE = (
    # plain, in the words people use
    "a photo of some {}.",
    "this is a {}.",
    "here is a {}.",
    "one {}.",
    "two {}, seen together.",
    "several {} in one picture.",
    "a picture showing a {}.",
    "a picture with a {} in it.",
    "an image that shows a {}.",
    "a photograph whose subject is a {}.",
    "a snapshot someone took of a {}.",
    "a phone picture of a {}.",
    "a holiday picture with a {}.",
    "a picture from an album: a {}.",
    "an amateur's photo of a {}.",
    "a professional's photo of a {}.",
    "a stock photograph: {}.",
    "a press photograph with a {}.",
    # distance and framing
    "a {} seen from nearby.",
    "a {} seen from far away.",
    "a {} filling the whole frame.",
    "a tiny {} somewhere in the frame.",
    "a {} at the centre of the picture.",
    "a {} at the edge of the picture.",
    "a {} that is only partly in the picture.",
    "a {} half hidden behind something.",
    "a {} from the front.",
    "a {} from the side.",
    "a {} from behind.",
    "a {} from above.",
    "a {} from below.",
    "a detail of a {}.",
    "a wide view with a {}.",
    "a tilted shot of a {}.",
    # light and weather
    "a {} in bright daylight.",
    "a {} in the shade.",
    "a {} at night.",
    "a {} in the evening light.",
    "a {} against the light.",
    "a {} lit by a flash.",
    "a {} under a lamp.",
    "a {} in fog or rain.",
    "a {} in the snow.",
    "a {} on a sunny day.",
    # the picture's quality
    "a sharp picture of a {}.",
    "an out-of-focus picture of a {}.",
    "a {} in motion, smeared by it.",
    "a grainy picture of a {}.",
    "a faded old print of a {}.",
    "a grey-scale picture of a {}.",
    "a colourful picture of a {}.",
    "a thumbnail of a {}.",
    "a badly compressed picture of a {}.",
    "an underexposed picture of a {}.",
    "an overexposed picture of a {}.",
    "a still from a film with a {}.",
    "a frame of a security camera with a {}.",
    "a scan of a photo of a {}.",
    # where it is
    "a {} indoors.",
    "a {} outdoors.",
    "a {} at home.",
    "a {} in a garden.",
    "a {} in the street.",
    "a {} in a field.",
    "a {} by the water.",
    "a {} on a table.",
    "a {} on the ground.",
    "a {} in front of a plain wall.",
    "a {} on a white background.",
    "a {} among other things.",
    "a {} with people around it.",
    "a {} alone.",
    # which one it is
    "a typical {}.",
    "an unusual {}.",
    "a beautiful {}.",
    "an ugly {}.",
    "a new {}.",
    "an old {}.",
    "a big {}.",
    "a little {}.",
)

# Of our own writing; each is a literal list, so that a result can be made again from its name.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "name": ("{}",),
    "photo": ("a photo of a {}.",),
    "photo-ensemble": _PHOTO_ENSEMBLE,
    "drawing": (
        "a drawing of a {}.",
        "a picture someone drew of a {}.",
        "a {} drawn by hand.",
        "a {} drawn on a computer.",
        "a flat illustration of a {}.",
        "a line drawing: {}.",
        "a coloured drawing of a {}.",
        "a {} in a picture book.",
    ),
    "emoji": (
        "{}",
        "{} emoji",
        "the emoji for {}",
        "an icon that means {}",
        "a little picture of {}",
        "a symbol: {}",
    ),
    **{name: domain.ensemble for name, domain in PROMPT_SETS.items()},
}

_PHOTOS = PromptSet("a photo of a {}.", "a photo of a {}, a thing or a living being.", _PHOTO_ENSEMBLE)


def ablation(prompts: str) -> dict[str, tuple[str, ...]]:
    """What the paper's prompt study compares (its section 3.1.4), for a domain of ``PROMPT_SETS`` or photographs: the
    ``name`` alone, one ``template``, one with a ``hint`` of the domain, the ``ensemble``.

    Raises ConfigError for a domain that is not there.

    >>> ablation("pets")["hint"]
    ('a photo of a {}, a breed of pet.',)
    """
    domains = {"photo-ensemble": _PHOTOS, **PROMPT_SETS}
    if prompts not in domains:
        raise ConfigError(f"there is no prompt set {prompts!r}; {nearest(prompts, domains)}")
    domain = domains[prompts]
    return {"name": ("{}",), "template": (domain.one,), "hint": (domain.hint,), "ensemble": domain.ensemble}


def templates(choice: str | Path | Sequence[str]) -> tuple[str, ...]:
    """The templates of a set's name, of a file (one a line), of one template, or of a sequence of templates.

    ``{}`` or ``{c}`` stands for the class. Raises ConfigError for an unknown name and for a template without a
    placeholder.

    >>> templates("photo")
    ('a photo of a {}.',)
    >>> templates("a {c} of clay")
    ('a {c} of clay',)
    """
    if isinstance(choice, str) and choice in TEMPLATES:
        return TEMPLATES[choice]
    if isinstance(choice, str) and _has_placeholder(choice):
        return (choice,)
    if isinstance(choice, str | Path):
        return _checked(_lines(choice), f"template file {choice}")
    return _checked(list(choice), "templates")


def fill(template: str, name: str) -> str:
    """The template with the class name in it. Other braces stay as they are.

    >>> fill("a {c} is a {}", "cat")
    'a cat is a cat'
    """
    return name.join(part.replace("{c}", name) for part in template.split("{}"))


def _has_placeholder(template: str) -> bool:
    return any(placeholder in template for placeholder in PLACEHOLDERS)


def _lines(choice: str | Path) -> list[str]:
    path = Path(choice)
    if not path.is_file():
        raise ConfigError(
            f"{str(choice)!r} is neither a set of templates nor a file nor a template with '{{}}'; "
            f"{nearest(str(choice), TEMPLATES)}"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"cannot read the template file {path}: {problem}") from problem
    return [line.strip() for line in text.splitlines() if line.strip()]


def _checked(found: list[str], where: str) -> tuple[str, ...]:
    if not found:
        raise ConfigError(f"{where}: there is no template in it")
    for i, template in enumerate(found):
        if not isinstance(template, str) or not _has_placeholder(template):
            raise ConfigError(f"{where}: number {i + 1}, {template!r:.80}, has no '{{}}' or '{{c}}' for the class name")
    return tuple(found)
