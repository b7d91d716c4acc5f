"""A CLIP that costs nothing, for tests of what is done with one."""

from diptych.specs import ModelSpec, PreprocessSpec, TextTransformerSpec, VisionTransformerSpec

SPEC = ModelSpec(
    name="tiny",
    embedding=16,
    image=VisionTransformerSpec(image_size=16, patch_size=8, width=24, layers=1, heads=2),
    text=TextTransformerSpec(width=16, layers=1, heads=2),
    preprocess=PreprocessSpec(size=16),
)
