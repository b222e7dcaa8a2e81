"""Updates of a round, and a step of a named aggregator."""

import numpy as np

from fedrec.components import Update, components, find

SHAPES = {"bias": (3,), "scale": (), "weight": (2, 4), "empty": (0, 2)}


def make_arrays(seed, count, dtype=np.float32):
    generator = np.random.default_rng(seed)
    return [
        {name: np.asarray(generator.normal(size=shape), dtype=dtype) for name, shape in SHAPES.items()}
        for _ in range(count)
    ]


def as_updates(arrays, weights=None):
    """Of markets m0, m1, ...; all alike without weights."""
    weights = [1 / len(arrays)] * len(arrays) if weights is None else weights
    return [Update(f"m{place}", one, weight) for place, (one, weight) in enumerate(zip(arrays, weights, strict=True))]


def built(kind, **settings):
    component = find("aggregator", kind)
    return component(component.Settings(kind=kind, **settings))


def aggregated(kind, arrays, weights=None, current=None, **settings):
    """One first step of an aggregator from ``current`` (zeros) on."""
    aggregator = built(kind, **settings)
    zeros = {name: np.zeros_like(array) for name, array in arrays[0].items()}
    return aggregator.apply(zeros if current is None else current, as_updates(arrays, weights), aggregator.init())[0]


KINDS = tuple(name for name, one in components("aggregator").items() if one.origin == "fedrec")
LINEAR = tuple(kind for kind in KINDS if find("aggregator", kind).linear)
