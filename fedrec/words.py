"""Texts from elsewhere, made fit to be shown: of one line, printable, and no longer than there is room for."""

import reprlib
import unicodedata
from collections.abc import Iterable
from typing import Any

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # control, invisible, lone surrogates, line ends
# Of other categories, and yet ignored or blank wherever they stand (Unicode's Default_Ignorable_Code_Point; U+2800).
_IGNORED = frozenset(
    map(
        chr,
        (
            0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2800, 0x3164, *range(0xFE00, 0xFE10),
            0xFFA0, *range(0xE0100, 0xE01F0),
        ),
    )
)  # fmt: skip
_HIDDEN = _UNSEEN | {"Co", "Cn"}  # of private use, or unknown to this machine's Unicode


def cleaned(text: str, longest: int) -> str:
    """``text`` in at most ``longest`` characters: what is not printable is a blank, and blanks in a row are one.

    >>> cleaned("a device\\x1b[31m\\n of  mine", 40)
    'a device [31m of mine'
    >>> cleaned("abcdef", 4)
    'abc…'
    """
    head = text[: 4 * longest]  # enough, however many blanks are in it
    shown = " ".join(visible(head).split())
    return shown if len(shown) <= longest and len(head) == len(text) else f"{shown[: longest - 1]}…"


def visible(text: str) -> str:
    """``text`` with a blank for every character that a terminal would obey, or not show."""
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    return " " if unicodedata.category(character) in _HIDDEN else character


def unseen(texts: Iterable[str]) -> list[str]:
    """The characters among ``texts`` that nobody sees: control, direction, joiners, fillers, selectors, line ends.

    Two texts that differ by them look the same, and some of them change how what follows is shown.

    >>> unseen(["a\u200bb", "c"])
    ['\u200b']
    """
    return sorted(one for one in set("".join(texts)) if unicodedata.category(one) in _UNSEEN or one in _IGNORED)


def shown(value: Any) -> str:
    """A value of any size in a few words."""
    try:
        return cleaned(reprlib.repr(value), 80)
    except ValueError:  # Python does not print integers of thousands of digits
        return "a number of thousands of digits"
