"""What happens to a text before it is split into words: repaired, HTML unescaped, whitespace collapsed, lower-cased."""

from __future__ import annotations

import html
import re

import ftfy

# ftfy and HTML unescaping leave printable ASCII without an ampersand as it is; they take most of a caption's time.
_PLAIN = re.compile(r"[\t\n\r -%'-~]*")


def clean(text: str) -> str:
    """The text as the released models' tokenizer sees it.

    Unicode repaired by ftfy, HTML entities unescaped twice (web captions are often escaped twice), runs of whitespace
    made one space, lower-cased.

    >>> clean("  AT&amp;amp;T\\u2019s caf\\u00c3\\u00a9 ")
    "at&t's café"
    """
    if not _PLAIN.fullmatch(text):
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()
