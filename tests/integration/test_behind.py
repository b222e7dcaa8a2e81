"""Which users' rows differ, against sets of Python."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedrec.clients.behind import differing

users = st.dictionaries(st.integers(0, 9), st.integers(0, 2), max_size=8)


def table(rows: dict[int, int]) -> np.ndarray:
    return np.array(sorted(rows.items()), np.uint64).reshape(-1, 2)


@given(users, users)
def test_users_differ_who_are_new_gone_or_changed(one, two):
    expected = {user for user in one.keys() | two.keys() if one.get(user) != two.get(user)}
    assert differing(table(one), table(two)) == differing(table(two), table(one)) == len(expected)
