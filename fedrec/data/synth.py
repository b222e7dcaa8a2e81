"""Synthetic markets: shared behaviour, own catalogues, own popularity, described items.

All markets shop from one universe of items sorted into topics, and follow one law of which topic comes after which
(shared behaviour; ``heterogeneity`` mixes in a law of the market's own). A market stocks a part of the universe: a
``overlap`` share is stocked by all, the rest is divided. Within a topic it has its own popularity. An item's title,
brand and category are drawn from its topic's words, so that text says what other markets know of it. A small market
sees each transition rarely and each item seldom: that is what there is to gain from the others.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedrec.data.columns import Columns
from fedrec.data.store_writer import write_store
from fedrec.errors import UserError
from fedrec.files import market_name, new_folder
from fedrec.seeds import numpy_generator

_SYLLABLES = ("ba", "do", "fi", "gu", "ke", "la", "mo", "nu", "pe", "ri", "sa", "to", "vu", "we", "xi", "zo")
_START = 1_577_836_800  # 2020-01-01
_DAY = 86400
_MINIMUM_LENGTH = 4
_MINIMUM_STOCK = 5


@dataclass(frozen=True)
class SynthSettings:
    """The knobs. ``users`` are those of the largest market; each next one has ``skew`` times the one before."""

    markets: tuple[str, ...] = ("alfa", "bravo", "charlie", "delta", "echo")
    users: int = 600
    items: int = 600  # of the universe
    topics: int = 30
    length: float = 9.0  # mean interactions per user
    overlap: float = 0.3  # share of the universe that every market stocks, in [0, 1]
    heterogeneity: float = 0.2  # share of a market's behaviour that is its own, in [0, 1]
    skew: float = 0.6  # size of each next market, in (0, 1]
    seed: int = 0


def write_synthetic_markets(directory: Path, settings: SynthSettings) -> None:
    """Write the markets into the new data folder ``directory``. Same settings, same bytes."""
    _check(settings)
    universe = _Universe(settings)
    with new_folder(directory) as scratch:
        for index, name in enumerate(settings.markets):
            interactions, items = universe.market(index, name)
            write_store(
                scratch / name,
                name,
                interactions,
                source=f"synthetic, seed {settings.seed}",
                time_resolution="second",
                items=items,
                items_declared=True,  # nobody's purchases made it
            )


class _Universe:
    """Everything the markets have in common."""

    def __init__(self, settings: SynthSettings) -> None:
        self.settings = settings
        generator = numpy_generator(settings.seed, "universe")
        self.topic_of = np.sort(generator.integers(settings.topics, size=settings.items))  # [I]
        self.topic_of[: settings.topics] = np.arange(settings.topics)
        self.law = _transition_law(settings.topics, generator)
        width = max(5, len(str(settings.items - 1)))  # as many digits in every key: keys are sorted as indices are
        self.keys = np.array([f"item-{index:0{width}d}" for index in range(settings.items)])
        words = [_word(generator) for _ in range(settings.topics * 6)]
        brands = [_word(generator).title() for _ in range(max(2, settings.items // 15))]
        self.titles = [
            " ".join([*generator.choice(words[6 * topic : 6 * topic + 6], size=3, replace=False), _word(generator)])
            for topic in self.topic_of
        ]
        self.brands = [str(brand) for brand in generator.choice(brands, size=settings.items)]
        self.categories = [words[6 * topic] for topic in self.topic_of]
        common = generator.random(settings.items) < settings.overlap
        owner = generator.integers(len(settings.markets), size=settings.items)
        stocked = [common | (owner == index) for index in range(len(settings.markets))]
        for name, stock in zip(settings.markets, stocked, strict=True):
            if stock.sum() < _MINIMUM_STOCK:
                raise UserError(f"market {name!r} would stock {stock.sum()} items; raise --items or --overlap")
        self.stocked = stocked

    def market(self, index: int, name: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Interactions and items of one market."""
        settings = self.settings
        generator = numpy_generator(settings.seed, "market", name)
        own = _transition_law(settings.topics, generator)
        law = (1 - settings.heterogeneity) * self.law + settings.heterogeneity * own  # [T, T]
        stock = np.flatnonzero(self.stocked[index])
        popularity = generator.permutation(1 / np.arange(1, len(stock) + 1) ** 0.8)  # Zipf, the market's own order
        shelves = [np.flatnonzero(self.topic_of[stock] == topic) for topic in range(settings.topics)]
        open_topics = np.array([len(shelf) > 0 for shelf in shelves])
        law = law * open_topics
        law /= law.sum(axis=1, keepdims=True)
        users = max(20, round(settings.users * settings.skew**index))
        rows: list[tuple[str, str, int, float]] = []
        for user in range(users):
            length = _MINIMUM_LENGTH + generator.poisson(max(settings.length - _MINIMUM_LENGTH, 0))
            moment = _START + int(generator.integers(300 * _DAY))
            topic = int(generator.choice(np.flatnonzero(open_topics)))
            for _ in range(length):
                topic = int(generator.choice(settings.topics, p=law[topic]))
                shelf = shelves[topic]
                chances = popularity[shelf] / popularity[shelf].sum()
                item = stock[int(generator.choice(shelf, p=chances))]
                moment += int(generator.exponential(3 * _DAY)) + 1
                rating = float(generator.choice([3.0, 4.0, 5.0], p=[0.1, 0.3, 0.6]))
                rows.append((f"{name}-{user:05d}", str(self.keys[item]), moment, rating))
        interactions = pl.DataFrame(
            rows, schema=[Columns.USER, Columns.ITEM, Columns.TIMESTAMP, Columns.VALUE], orient="row"
        )
        interactions = interactions.sort(Columns.TIMESTAMP, maintain_order=True)
        return interactions, self._items(sorted({row[1] for row in rows}))

    def _items(self, sold: list[str]) -> pl.DataFrame:
        position = np.searchsorted(self.keys, sold)
        columns = (self.titles, self.brands, self.categories)
        return pl.DataFrame(
            {Columns.ITEM: sold}
            | {name: [texts[i] for i in position] for name, texts in zip(Columns.TEXT, columns, strict=True)}
        )


def _transition_law(topics: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Row-stochastic [T, T]: a few likely successors each, and a little of everything."""
    law = np.full((topics, topics), 0.15 / topics)
    for topic in range(topics):
        successors = generator.choice(topics, size=min(3, topics), replace=False)
        law[topic, successors] += 0.85 * np.array([0.6, 0.3, 0.1])[: len(successors)]
    return np.asarray(law / law.sum(axis=1, keepdims=True))


def _word(generator: np.random.Generator) -> str:
    return "".join(generator.choice(_SYLLABLES, size=int(generator.integers(2, 4))))


def _check(settings: SynthSettings) -> None:
    for name in settings.markets:
        market_name(name, "--markets")
    if len(set(settings.markets)) != len(settings.markets):
        raise UserError("--markets: a name occurs twice")
    bounds = [
        ("--users", settings.users, 20, 10_000_000),
        ("--items", settings.items, 2 * settings.topics, 10_000_000),
        ("--topics", settings.topics, 2, 10_000),
        ("--length", settings.length, _MINIMUM_LENGTH, 1000),
        ("--overlap", settings.overlap, 0, 1),
        ("--heterogeneity", settings.heterogeneity, 0, 1),
        ("--skew", settings.skew, 0.01, 1),
        ("--seed", settings.seed, 0, 2**31 - 1),
    ]
    for name, value, low, high in bounds:
        if not (math.isfinite(value) and low <= value <= high):
            raise UserError(f"{name} {value}: must lie between {low} and {high}")
