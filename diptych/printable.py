"""Text of unknown origin, as a terminal or a drawing can take it."""


def printable(text: str, *, lines: bool = True) -> str:
    """Without the control characters that names in a damaged file may hold: a terminal would obey them.

    ``lines``: whether new lines may stay.
    """
    return "".join(c if c.isprintable() or (lines and c == "\n") else ascii(c)[1:-1] for c in text)
