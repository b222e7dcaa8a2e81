"""Popularity: every user gets the market's most frequent items."""

import numpy as np
from numpy.typing import NDArray

from fedrec.data.sequences import DAY, Sequences


def popularity(histories: Sequences) -> NDArray[np.float64]:
    """Interactions per item over the given histories, [I]."""
    return histories.item_counts().astype(np.float64)


def trend(histories: Sequences, moments: NDArray[np.int64], half_life_days: float) -> NDArray[np.float32]:
    """Popularity as it stood at each of B moments (seconds), halving with age, [B, I].

    Only interactions up to that moment count, so no user is shown the market's future.
    """
    decay = np.log(2) / (DAY * half_life_days)
    order = np.argsort(histories.times, kind="stable")
    times, items = histories.times[order], histories.items[order]
    result = np.zeros((len(moments), histories.item_count), dtype=np.float32)
    state = np.zeros(histories.item_count)
    now, done = float(times[0]) if len(times) else 0.0, 0
    for row in np.argsort(moments, kind="stable"):
        moment = float(moments[row])
        state *= np.exp(-decay * max(moment - now, 0.0))
        now = max(now, moment)
        until = done + int(np.searchsorted(times[done:], moment, side="right"))
        np.add.at(state, items[done:until], np.exp(-decay * (moment - times[done:until])))
        done = until
        result[row] = state
    return result
