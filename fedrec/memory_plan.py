"""What a market's run will hold in memory, told from sizes before anything is trained.

Of what grows with a catalogue or with users; what every run needs (Python, torch, Flower) comes on top. Scores of users
are made in blocks of a bounded size and are not here. Sparse weights and candidates are estimates, for how many there
are depends on histories; a matrix is as large as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedrec.components.algorithm import Need, algorithm_of
from fedrec.recipe import Recipe

GIGABYTE = 1e9
FORMS = frozenset(
    {"ease.dense_items", "ease.neighbours"}
)  # keys with which a run that was interrupted may go on changed
_INVERTED = 32  # bytes a cell while EASE is inverted: four matrices in float64
_CELL = 4  # bytes of it that stay
_WEIGHT = 12  # bytes of a sparse weight, and as much again while columns are put together
_MODELS = 2  # item-item models: of a market's own counts, and of summed ones
_TRAINED = 4 * 4  # bytes a number of a table that is trained: itself, its gradient and two moments


def why_bound(recipe: Recipe) -> str | None:
    """Why a run of this recipe may not go on with other :data:`FORMS`; None where it may."""
    if recipe.privacy.on:
        return "under privacy another form is another question about the rows"
    if recipe.masks.enabled:
        return "masks are of one recipe"
    if Need.STATISTICS in recipe.needs:
        return f"the features of algorithm.kind {recipe.algorithm.kind!r} are made of them"
    return None


@dataclass(frozen=True)
class Part:
    """Something large, and which key of a recipe makes it smaller."""

    what: str
    held: float  # bytes, as long as the run lasts
    remedy: str
    passing: float = 0.0  # bytes more, while it is made

    @property
    def bytes(self) -> float:
        """At its worst moment."""
        return self.held + self.passing


def memory_plan(
    recipe: Recipe, users: int, items: int, interactions: int | None = None, union: int | None = None
) -> list[Part]:
    """The parts of one market of so large data, largest first.

    ``interactions``: None where they are not told. ``union``: how many items all markets have, at most; None where it
    is not known, as in a market alone.
    """
    parts = [_item_item(recipe, users, items, interactions)] if _has_item_models(recipe) else []
    if union is not None and recipe.sums_counts and recipe.fedease.restrict == "after":
        parts.append(_of_all_items(recipe, union))
    if recipe.privacy.on and recipe.releases_pairs:
        parts.append(Part(f"noised pairs of {items:,} items", items**2 * 8.0, "take a smaller catalogue"))
    if recipe.trains:
        held = users * algorithm_of(recipe).bytes_per_user
        remedy = "lower algorithm.per_scorer, where the algorithm has it, or take a data.user_share of them"
        parts.append(Part(f"what {recipe.algorithm.kind!r} keeps of {users:,} users", held, remedy))
        table = items * (recipe.model.dimension + recipe.semantics.dimension) * _TRAINED
        parts.append(Part(f"vectors of {items:,} items", table, "lower model.dimension"))
    return sorted(parts, key=lambda part: -part.bytes)


def sparse_models(recipe: Recipe, items: int) -> bool:
    """Whether a market of so many items has sparse item-item weights in place of a matrix."""
    return _has_item_models(recipe) and items > recipe.ease.dense_items


def _has_item_models(recipe: Recipe) -> bool:
    """Whether anything of EASE's kind is fitted: as a method, in the prior of a model, or as a ranker's features."""
    methods = set(recipe.evaluation.methods)
    return recipe.task == "sequential" and (recipe.trains or bool(methods & {"ease", "fedease"}))


def _item_item(recipe: Recipe, users: int, items: int, interactions: int | None) -> Part:
    ease = recipe.ease
    if items > ease.dense_items:
        cells = items * min(ease.neighbours, items)
        if interactions is not None:  # pairs of a history; histories are of different lengths, hence twice the mean
            cells = min(cells, 2 * interactions * interactions // users)
        weights = f"sparse EASE of {items:,} items, {ease.neighbours} weights each at most"
        return Part(weights, cells * _WEIGHT * _MODELS, "lower ease.neighbours", passing=cells * _WEIGHT)
    matrix, remedy = f"EASE of {items:,} items as a matrix", f"set ease.dense_items below {items}"
    return Part(matrix, items**2 * _CELL * _MODELS, remedy, passing=items**2 * _INVERTED)


def _of_all_items(recipe: Recipe, items: int) -> Part:
    """Federated EASE over the items of all markets, of which a market keeps its own."""
    ease = recipe.ease
    sparse = items > ease.dense_items
    passing = items * min(ease.neighbours, items) * _WEIGHT * 2 if sparse else items**2 * _INVERTED
    return Part(f"federated EASE of {items:,} items of all markets", 0, "set fedease.restrict to before", passing)


def too_large(plans: Mapping[str, list[Part]], free: float | None, at_once: int = 1) -> str | None:
    """Why these markets do not fit together into ``free`` bytes, in words; None if they do, or nobody knows.

    ``at_once``: how many of them compute at a time.
    """
    passing = sorted((part.passing for plan in plans.values() for part in plan), reverse=True)
    total = sum(part.held for plan in plans.values() for part in plan) + sum(passing[:at_once])
    if free is None or total <= free:
        return None
    market, part = max(
        ((market, part) for market, plan in plans.items() for part in plan), key=lambda pair: pair[1].bytes
    )
    return (
        f"{', '.join(sorted(plans))}: up to {total / GIGABYTE:.1f} GB of memory are needed and {free / GIGABYTE:.1f} "
        f"are free; most of it ({part.bytes / GIGABYTE:.1f} GB) is {part.what} of {market}: {part.remedy}"
    )


def free_memory() -> float | None:
    """Bytes that this process may still take: of the machine, or of its container where that is less."""
    limits = [limit for limit in (_of_machine(), _of_container()) if limit is not None]
    return min(limits, default=None)


def _of_machine() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _of_container(folder: Path = Path("/sys/fs/cgroup")) -> float | None:
    """By cgroups of version 2; files that are read and in the cache can be given back, so they count as free."""
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = float((folder / "memory.current").read_text(encoding="ascii"))
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    cached = next((float(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0.0)
    return None if limit == "max" else max(float(limit) - used + cached, 0.0)
