"""Whose rows are behind what leaves, over all runs: two answers may not differ by the rows of a few users.

A floor on the users of one recipe (``min-users``) is none, if a second recipe may leave out one of them: the difference
of the two answers is that user. So a market with a floor remembers of every recipe it answered which users' rows it
trained on, chose by and tested on, as hashes on its own disk, and refuses a recipe whose rows differ from an earlier
one's in fewer users than the floor. A refusal tells that rows differ by a few, so there are few of them: after so many
recipes of other rows, answered or not, no other rows are looked at. New data begin a new memory.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as save_arrays

from fedrec.arrays import read_arrays
from fedrec.clients.node import MarketNode
from fedrec.data.sequences import Sequences
from fedrec.errors import RunError
from fedrec.files import exclusively, write_atomic
from fedrec.recipe import Recipe, recipe_json
from fedrec.training.prepared import PreparedMarket

Rows = dict[str, NDArray[np.uint64]]  # by part: a hash of every user's id and one of the rows, [U, 2], by id
_WORDS = {"train": "train on", "read": "read in training", "validation": "choose by", "test": "test on"}
ROW_SETS = 20  # that are compared on the same data, in all runs


def refuse_small_differences(node: MarketNode, recipe: Recipe) -> None:
    """Raise :class:`RunError` where too few users tell this recipe's rows from those of one that was answered."""

    def behind() -> Rows:
        market = replace(node.prepare(recipe), vocabulary=None)  # what others sell decides nothing of it
        return rows_behind(market)

    rows = node.remember("behind", recipe_json(recipe), behind)
    folder = node.answered / node.store.fingerprint
    name = _digest(rows)
    path, refused = folder / f"{name}.safetensors", folder / f"{name}.refused"
    if path.is_file():
        return
    with exclusively(node.answered / ".lock"):
        known = sorted(folder.glob("*.safetensors"))
        if not refused.is_file() and len(known) + len(list(folder.glob("*.refused"))) >= ROW_SETS:
            raise RunError(
                f"recipes with {ROW_SETS} different sets of rows were asked of these data here; take the rows of an "
                "earlier one"
            )
        try:
            for one in known:
                _compare(rows, read_arrays(one), node.min_users)
        except RunError:
            write_atomic(refused, b"", mode=0o600)
            raise
        write_atomic(path, save_arrays(rows), mode=0o600)


def rows_behind(market: PreparedMarket) -> Rows:
    """Of every user with rows in a part, what these rows are: items by key, times, their order."""
    names = np.array([_hashed(key.encode()) for key in market.items], np.uint64)  # [I]
    return {part: _table(dict(_rows(market, part, names))) for part in _WORDS}


def differing(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> int:
    """How many users have rows in one of two tables that they have not in the other."""
    pairs, count = np.unique(np.concatenate([left, right]), axis=0, return_counts=True)
    return len(np.unique(pairs[count == 1, 0]))


def _compare(rows: Rows, known: dict[str, NDArray[np.generic]], least: int) -> None:
    for part, words in _WORDS.items():
        users = differing(rows[part], np.asarray(known[part], np.uint64))
        if 0 < users < least:
            raise RunError(
                f"the rows to {words} differ from those of an earlier recipe here in fewer than {least} users, and the "
                "difference would tell of these; take the same rows, or others for more users (min-users)"
            )


def _rows(market: PreparedMarket, part: str, names: NDArray[np.uint64]) -> Iterator[tuple[str, bytes]]:
    """Users of a part, and what is asked of each."""
    if market.recipe.task == "ctr":
        split = market.ctr
        if part == "train":
            yield from _histories(split.collaborative, split.users, names)
            return
        instances = {"read": split.learn, "validation": split.validation, "test": split.test}[part]
        past, there = split.histories(instances, market.recipe.ctr.history)  # [N, L]
        read = np.where(there, names[past], 0)
        order = np.argsort(instances.users, kind="stable")
        ends = np.searchsorted(instances.users[order], np.arange(len(split.users) + 1))
        for user, (start, end) in enumerate(pairwise(ends)):
            if end > start:
                own = order[start:end]
                asked = names[instances.items[own]].tobytes() + instances.labels[own].tobytes()
                yield split.users[user], asked + read[own].tobytes()
        return
    users = market.split.users
    if part in {"train", "read"}:
        longest = market.recipe.model.maximum_length + 1 if part == "read" else None
        yield from _histories(market.train, [users[user] for user in market.owners], names, longest)
        return
    holdout = market.validation if part == "validation" else market.test
    known = dict(enumerate(data for _, data in _histories(holdout.histories, [""] * len(holdout), names)))
    starts = np.searchsorted(holdout.rows, np.arange(len(holdout) + 1))
    with_outside = np.append(names, np.uint64(0))  # OUTSIDE is -1
    for row, user in enumerate(holdout.users):
        targets = with_outside[holdout.targets[starts[row] : starts[row + 1]]]
        name = users[user] if user >= 0 else f"\x1f{row}"
        yield name, known[row] + targets.tobytes()


def _histories(
    rows: Sequences, users: list[str], names: NDArray[np.uint64], longest: int | None = None
) -> Iterator[tuple[str, bytes]]:
    """Items and times of every user, the latest ``longest`` of them."""
    for user, name in enumerate(users):
        start, end = rows.offsets[user], rows.offsets[user + 1]
        start = start if longest is None else max(start, end - longest)
        yield name, names[rows.items[start:end]].tobytes() + rows.times[start:end].tobytes()


def _table(rows: dict[str, bytes]) -> NDArray[np.uint64]:
    found = [(_hashed(name.encode()), _hashed(data)) for name, data in rows.items() if data]
    table = np.array(found, np.uint64).reshape(-1, 2)
    return np.ascontiguousarray(table[np.argsort(table[:, 0], kind="stable")])


def _hashed(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _digest(rows: Rows) -> str:
    return hashlib.sha256(b"\x1f".join(rows[part].tobytes() for part in _WORDS)).hexdigest()
