"""Lists of public item keys as they come from the other side."""

from collections.abc import Mapping, Sequence

from fedrec.words import unseen

MAX_ITEMS, LONGEST_KEY = 2_000_000, 512  # nobody must drown the others in keys


def read_keys(texts: Mapping[str, "str | Sequence[str]"], name: str, most: int | None = None) -> list[str]:
    """The item keys that came under ``name``; raises ``ValueError`` in words for anything that is no catalogue.

    At most ``most`` are taken, and ``MAX_ITEMS`` in any case. Keys must mean the same everywhere, so none is mended:
    one that cannot be shown as it is, is refused.
    """
    items = texts.get(name)
    if not isinstance(items, list) or len(set(items)) != len(items) or not items:
        raise ValueError(f"{name} is not a list of distinct item keys")
    longest, most = max(map(len, items)), MAX_ITEMS if most is None else min(most, MAX_ITEMS)
    if len(items) > most or longest > LONGEST_KEY:
        raise ValueError(
            f"{name} has {len(items)} keys of up to {longest} characters; at most {most} of {LONGEST_KEY} are taken"
        )
    if unseen(items) or not all(key.strip() for key in items):
        raise ValueError(f"{name} has a key that is blank, or has characters that nobody sees")
    return items
