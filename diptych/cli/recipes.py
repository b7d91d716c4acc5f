"""``diptych recipes``."""

from __future__ import annotations


def recipes(name: str | None = None, /, *, json: bool = False) -> None:
    """List what can be trained, or tell all of one recipe: its command, the result to expect, every value.

    Example:
        diptych recipes
        diptych recipes vit-b-32

    Parameters
    ----------
    name
        One of those that are listed.
    json
        Print names and what they are for, or the values of the one recipe, as JSON.
    """
    import inspect
    from json import dumps

    from diptych.cli.output import print_table
    from diptych.config import to_dict
    from diptych.training import recipes as table

    if name is None:
        lines = {known: table.summary(known) for known in table.RECIPES}
        if json:
            print(dumps(lines, indent=2))
        else:
            print_table(["recipe", "for"], list(lines.items()))
        return
    recipe = table.find(name)
    values = dumps(to_dict(recipe("SOURCE")), indent=2)
    if not json:
        print((inspect.getdoc(recipe) or "").replace("``", ""), end="\n\n")
    print(values)
