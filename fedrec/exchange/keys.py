"""Lists of public item keys as they come from the other side."""

from collections.abc import Mapping, Sequence

MOST_ITEMS, LONGEST_KEY = 2_000_000, 512  # nobody must drown the others in keys


def read_keys(texts: Mapping[str, "str | Sequence[str]"], name: str) -> list[str]:
    """The item keys that came under ``name``; raises ``ValueError`` in words for anything that is no catalogue."""
    items = texts.get(name)
    if not isinstance(items, list) or len(set(items)) != len(items) or not items:
        raise ValueError(f"{name} is not a list of distinct item keys")
    longest = max(map(len, items))
    if len(items) > MOST_ITEMS or longest > LONGEST_KEY:
        raise ValueError(
            f"{name} has {len(items)} keys of up to {longest} characters; "
            f"at most {MOST_ITEMS} of {LONGEST_KEY} are taken"
        )
    return items
