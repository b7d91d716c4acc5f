"""Template ensembles for the domains of the paper's data sets (its sections 3.1.4 and 3.1.5), of our own writing.

Each says what kind of thing the classes are, which tells a bird called crane from a crane, and how such images look.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PromptSet:
    """``one``: the single template that one would try first. ``hint``: the same with what is known of the domain.
    ``ensemble``: templates whose embeddings are averaged."""

    one: str
    hint: str
    ensemble: tuple[str, ...]


# One row a domain.
PROMPT_SETS: dict[str, PromptSet] = {
    "food": PromptSet(
        "a photo of {}.",
        "a photo of {}, a kind of food.",
        (
            "a plate of {}, a kind of food.",
            "{}, served in a restaurant.",
            "home-made {} on the table.",
            "food someone is about to eat: {}.",
            "a close look at a portion of {}.",
            "a dish called {}.",
            "a snapshot of {} taken before the meal.",
            "a menu's picture of {}.",
        ),
    ),
    "tiny-photo": PromptSet(
        "a photo of a {}.",
        "a tiny, blurred photo of a {}.",
        (
            "a tiny, blurred photo of a {}.",
            "a photo of a {}, shrunk to a thumbnail.",
            "a few coarse pixels that show a {}.",
            "a {} in very low resolution.",
            "an icon-sized picture of a {}.",
            "a small picture cropped around a {}.",
            "a pixelated {}.",
            "a {} that fills a little square picture.",
            "a blurred image where one can make out a {}.",
            "a dark little photo of a {}.",
            "a bright little photo of a {}.",
            "a {} seen through a poor camera.",
        ),
    ),
    "birds": PromptSet(
        "a photo of a {}.",
        "a photo of a {}, a species of bird.",
        (
            "a photo of a {}, a species of bird.",
            "a {}, photographed by a birdwatcher.",
            "a wild bird, the {}, on a branch.",
            "the plumage of a {}, a North American bird.",
            "a {} in flight; it is a bird.",
            "a field guide's picture of the bird {}.",
            "a {} near the water, a bird.",
            "a bird of the species {}, seen through a long lens.",
        ),
    ),
    "scenes": PromptSet(
        "a photo of a {}.",
        "a photo of a place: {}.",
        (
            "a photo of a place: {}.",
            "a wide view of a {}.",
            "the scene is a {}.",
            "standing in or before a {}.",
            "a {} as one enters it.",
            "a travel photo of a {}.",
            "an empty {}.",
            "a {} with people in it.",
            "this location is a {}.",
            "the surroundings of a {}.",
        ),
    ),
    "cars": PromptSet(
        "a photo of a {}.",
        "a photo of a {}, a model of car.",
        (
            "a photo of a {}, a model of car.",
            "a {} for sale at a dealer's, a car.",
            "the front of a {}, a car.",
            "the rear of a {}, a car.",
            "a {} parked in the street; it is a car.",
            "a car of make, model and year {}.",
            "an advertisement for the car {}.",
            "somebody's own {}, freshly washed.",
            "a used {}, a car with some miles on it.",
            "a {} on the road.",
        ),
    ),
    "aircraft": PromptSet(
        "a photo of a {}.",
        "a photo of a {}, a kind of aircraft.",
        (
            "a photo of a {}, a kind of aircraft.",
            "an aeroplane of the variant {}.",
            "a {} on the runway, an aircraft.",
            "a {} taking off, seen by a plane spotter.",
            "a {} in the air, an aircraft.",
            "the aircraft {} parked at an airport.",
            "a {}, an aircraft in its airline's colours.",
        ),
    ),
    "several-objects": PromptSet(
        "a photo of a {}.",
        "a photo of an everyday scene with a {} in it.",
        (
            "there is a {} somewhere in this photo.",
            "an everyday scene with a {} in it.",
            "a photo that shows a {} among other things.",
            "a {} in the foreground.",
            "a {} in the background.",
            "a snapshot with a {}.",
            "at least one {} can be seen.",
            "part of a {} at the edge of a photo.",
        ),
    ),
    "textures": PromptSet(
        "a photo of something {}.",
        "a photo whose texture is {}.",
        (
            "a photo whose texture is {}.",
            "a {} surface, seen from nearby.",
            "a {} pattern.",
            "a material that is {}.",
            "something with a {} look.",
            "a {} thing that fills the picture.",
            "a fabric, stone or skin that looks {}.",
        ),
    ),
    "pets": PromptSet(
        "a photo of a {}.",
        "a photo of a {}, a breed of pet.",
        (
            "a photo of a {}, a breed of pet.",
            "a {}, a pet at home on the sofa.",
            "the face of a {}, a breed of cat or dog.",
            "a {} outdoors, a pet on a walk.",
            "a young {}, a pet.",
            "a breeder's portrait of a {}, a pet.",
            "somebody's beloved pet, a {}.",
            "a {} lying down, a pet.",
        ),
    ),
    "objects": PromptSet(
        "a photo of a {}.",
        "a picture of one object, a {}.",
        (
            "a picture of one object, a {}.",
            "a {} on its own.",
            "a {} cut out on a white ground.",
            "a drawing or photo of a {}.",
            "a {} in the middle of the picture.",
            "a catalogue's picture of a {}.",
            "a {} seen from its side.",
            "a model of a {}.",
            "a cartoon of a {}.",
            "a cluttered picture with a {}.",
            "a well-lit {}.",
        ),
    ),
    "flowers": PromptSet(
        "a photo of a {}.",
        "a photo of a {}, a kind of flower.",
        (
            "a photo of a {}, a kind of flower.",
            "the flower {} in bloom.",
            "petals of a {}, a flower.",
            "a {} in a flower bed.",
            "a wild {}, a flower in the grass.",
            "a bunch of {}, flowers.",
            "a close look into the flower of a {}.",
        ),
    ),
    "digits": PromptSet(
        'a photo of the number "{}".',
        'the digit "{}", written by hand.',
        (
            'the digit "{}", written by hand.',
            'a handwritten "{}".',
            'white ink on black: the number "{}".',
            'a scan of a form with the digit "{}".',
            'somebody wrote "{}".',
            'the single figure "{}".',
        ),
    ),
    "emotions": PromptSet(
        "a photo of a {} face.",
        "a grey photo of a person's face that looks {}.",
        (
            "a grey photo of a person's face that looks {}.",
            "somebody who feels {}.",
            "a {} expression on a face.",
            "a portrait of a {} person.",
            "the look of someone who is {}.",
            "a person who is {}, one can tell by the eyes and mouth.",
            "a {} person, close up.",
        ),
    ),
    "satellite": PromptSet(
        "a photo of {}.",
        "a satellite image of {}.",
        (
            "a satellite image of {}.",
            "{}, seen from a satellite.",
            "land used as {}, seen from space.",
            "a square of the earth's surface with {}.",
            "a coarse satellite picture that shows {}.",
            "from orbit one sees {}.",
        ),
    ),
    "aerial": PromptSet(
        "a photo of a {}.",
        "an aerial image of a {}.",
        (
            "an aerial image of a {}.",
            "a {} seen from an aeroplane, straight down.",
            "a satellite picture of a {}.",
            "a map service's picture of a {}.",
            "a {} from high above.",
            "remote sensing: a {}.",
            "a bird's-eye view of a {}.",
            "the roofs and grounds of a {}, from above.",
        ),
    ),
    "traffic-signs": PromptSet(
        "a photo of a sign: {}.",
        "a photo of a German traffic sign: {}.",
        (
            "a photo of a German traffic sign: {}.",
            "a road sign that means: {}.",
            "a traffic sign seen by a car's camera: {}.",
            "a blurred crop of a traffic sign: {}.",
            "a sign beside the road: {}.",
            "a dark photo of a road sign: {}.",
            "a sunlit road sign: {}.",
        ),
    ),
    "distance": PromptSet(
        "{}.",
        "a photo taken from a car on the road: {}.",
        (
            "a photo taken from a car on the road: {}.",
            "a dashboard camera's view: {}.",
            "the street ahead: {}.",
            "driving, one sees this: {}.",
        ),
    ),
    "countries": PromptSet(
        "a photo of {}.",
        "a photo taken in {}, a country.",
        (
            "a photo taken in {}, a country.",
            "somewhere in {}.",
            "a holiday in {}.",
            "a street in {}.",
            "people of {}.",
            "the countryside of {}.",
            "a city in {}.",
            "indoors, in {}.",
            "a picture that someone who lives in {} took.",
        ),
    ),
    "lymph-nodes": PromptSet(
        "a photo of {}.",
        "a patch of {}, under the microscope.",
        (
            "a patch of {}, under the microscope.",
            "a stained histology slide of {}.",
            "pathology: {}.",
            "a microscope's image that shows {}.",
            "a biopsy with {}, in pink and purple.",
        ),
    ),
    "actions": PromptSet(
        "a photo of {}.",
        "a frame of a video of a person doing this: {}.",
        (
            "a frame of a video of a person doing this: {}.",
            "a person is {}.",
            "people who are {}.",
            "a video about {}.",
            "somebody practises {}.",
            "a clip in which one sees {}.",
            "the activity is {}.",
            "an example of how it is done: {}.",
            "a still of the action {}.",
        ),
    ),
    "counts": PromptSet(
        "a photo of {} things.",
        "a rendered picture of {} blocks, balls and cylinders.",
        (
            "a rendered picture of {} blocks, balls and cylinders.",
            "there are {} objects on the grey floor.",
            "{} simple shapes, counted.",
            "a computer-made scene of {} things.",
            "one can count {} objects.",
        ),
    ),
    "memes": PromptSet(
        "{}.",
        "a picture with words across it, which is {}.",
        (
            "a picture with words across it, which is {}.",
            "an internet meme: {}.",
            "a post one would call {}.",
            "what this meme says is {}.",
        ),
    ),
    "sentiment": PromptSet(
        "a {} text.",
        "a picture of a sentence of a {} film review.",
        (
            "a picture of a sentence of a {} film review.",
            "words of a critic whose opinion of a film is {}.",
            "a {} review, in black letters.",
            "a printed sentence; the sentiment is {}.",
            "someone's {} opinion of a movie.",
        ),
    ),
}
