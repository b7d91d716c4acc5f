"""How an error names what would have been right."""

from diptych.errors import nearest

MANY = [f"choice-{i}" for i in range(100)]


def test_the_nearest_choice_comes_with_the_others_where_they_are_few() -> None:
    assert (
        nearest("small-drawing", ["rn50", "small-drawings"])
        == "did you mean 'small-drawings'? valid: rn50, small-drawings"
    )
    assert nearest("zzz", ["rn50"]) == "valid: rn50"
    assert nearest("zzz", []) == "valid: none"


def test_a_long_list_is_not_told_in_full() -> None:
    assert nearest("choice-7x", MANY) == "did you mean 'choice-7'?"
    assert nearest("zzz", MANY).endswith("choice-29 and 70 more")
