"""Catalogues as they come from the other side."""

import pytest

from fedrec.exchange.keys import LONGEST_KEY, read_keys


def test_distinct_keys_pass_in_their_order():
    assert read_keys({"items": ["b", "a"]}, "items") == ["b", "a"]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({}, "not a list"),
        ({"items": "abc"}, "not a list"),
        ({"items": []}, "not a list"),
        ({"items": ["a", "a"]}, "distinct"),
        ({"items": ["a", "b" * (LONGEST_KEY + 1)]}, "at most"),
        ({"items": ["a", ""]}, "blank"),
        ({"items": ["a", "  "]}, "blank"),
    ],
)
def test_what_is_no_catalogue(texts, words):
    with pytest.raises(ValueError, match=words):
        read_keys(texts, "items")


def test_too_many_keys(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fedrec.exchange.keys.MAX_ITEMS", 2)
    with pytest.raises(ValueError, match="3 keys"):
        read_keys({"items": ["a", "b", "c"]}, "items")
