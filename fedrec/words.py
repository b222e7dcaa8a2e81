"""Texts from elsewhere, made fit to be shown: of one line, printable, and no longer than there is room for."""

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # control, invisible, lone surrogates, line ends


def cleaned(text: str, longest: int) -> str:
    """``text`` in at most ``longest`` characters: what is not printable is a blank, and blanks in a row are one.

    >>> cleaned("a device\\x1b[31m\\n of  mine", 40)
    'a device [31m of mine'
    >>> cleaned("abcdef", 4)
    'abc…'
    """
    head = text[: 4 * longest]  # enough, however many blanks are in it
    shown = " ".join("".join(" " if unicodedata.category(one) in _HIDDEN else one for one in head).split())
    return shown if len(shown) <= longest and len(head) == len(text) else f"{shown[: longest - 1]}…"
