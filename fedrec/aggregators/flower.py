"""Flower's own strategies as aggregators: a ``flwr.serverapp.strategy`` class runs unchanged behind our validation.

Of a strategy its ``configure_train`` is called, so that it sees the parameters, and its ``aggregate_train``. Which
markets are asked, what is sent and what of it is accepted stays ours. A strategy keeps what it remembers in its
attributes: those that hold arrays, lists or dictionaries of arrays, records of arrays or numbers are its state here,
are taken out after every round and put into a new strategy before the next, so that a run resumes as it was.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, cast

import numpy as np
from flwr import serverapp
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore.task_identity import TaskIdentity
from pydantic import Field

from fedrec.components.aggregator import Aggregator, Array, State, Update
from fedrec.components.section import ComponentSettings

_ROUND = "round"
_EXAMPLES = "num-examples"  # the key by which Flower's strategies weigh
_PLACE = re.compile(r"(\w+)([@/\[])(.*)", re.DOTALL)  # attribute, how it holds arrays, which of them
_MINIMA = ("min_train_nodes", "min_evaluate_nodes", "min_available_nodes")
_WHOLE = 1e6  # examples of all markets together: a strategy may take weights for counts


class FlowerStrategy(Aggregator):
    """Base of aggregators around a strategy. A subclass says :meth:`strategy`, and its settings."""

    Settings: ClassVar[type[ComponentSettings]]

    def strategy(self) -> Strategy:
        """A new strategy as the settings want it."""
        raise NotImplementedError

    def apply(
        self, current: Mapping[str, Array], updates: Sequence[Update], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], State]:
        """One round of the strategy. What it remembers is the state, beside the number of the round."""
        strategy = self._made()
        number = int(state[_ROUND][0]) + 1 if state else 1
        _put(vars(strategy), {name: value for name, value in state.items() if name != _ROUND})
        _identify()
        nodes = cast("Grid", SimpleNamespace(get_node_ids=lambda: range(1, len(updates) + 1)))
        strategy.configure_train(number, _record(current), ConfigRecord(), nodes)
        replies: Any = [_reply(node, update) for node, update in enumerate(updates, start=1)]
        arrays, _ = strategy.aggregate_train(number, replies)
        if arrays is None:
            raise ValueError("its strategy returned no arrays")
        result = {name: np.asarray(array.numpy(), current[name].dtype) for name, array in arrays.items()}
        first = _taken(vars(self._made()))
        moved = {
            name: value
            for name, value in _taken(vars(strategy)).items()
            if name not in first or not np.array_equal(value, first[name])
        }
        return result, {**moved, _ROUND: np.array([number])}

    def _made(self) -> Strategy:
        strategy = self.strategy()
        for name in _MINIMA:
            if hasattr(strategy, name):
                setattr(strategy, name, 1)  # how many must answer is our quorum; a strategy would wait for more
        return strategy


class FlowerSettings(ComponentSettings):
    """Of aggregator.kind flower."""

    kind: str = "flower"
    strategy: Literal[
        "FedAdagrad", "FedAdam", "FedAvg", "FedAvgM", "FedMedian", "FedTrimmedAvg", "FedYogi", "Krum", "MultiKrum",
        "Bulyan",
    ] = Field(default="FedAvg", description="of flwr.serverapp.strategy")  # fmt: skip
    options: dict[str, float | int | bool | str] = Field(
        default={}, description="keyword arguments of the strategy, such as server_momentum"
    )


class Flower(FlowerStrategy):
    """One of the strategies that come with Flower."""

    Settings = FlowerSettings

    @classmethod
    def objection(cls, settings: Any) -> str | None:
        """What the strategy says of its arguments."""
        try:
            cls(settings).strategy()
        except (TypeError, ValueError) as error:
            return f"aggregator.options: {settings.strategy} takes them not ({error}); remove what is wrong"
        return None

    def strategy(self) -> Strategy:
        """It, with the options."""
        made: Callable[..., Strategy] = getattr(serverapp.strategy, self.settings.strategy)
        return made(**self.settings.options)


def _identify() -> None:
    """Let messages be made outside of a run too, as a test of a strategy does; in a run there is an identity."""
    try:
        _ = TaskIdentity.run_id
    except RuntimeError:
        TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 0


def _record(arrays: Mapping[str, Array]) -> ArrayRecord:
    return ArrayRecord({name: FlowerArray(np.asarray(array)) for name, array in sorted(arrays.items())})


def _reply(node: int, update: Update) -> SimpleNamespace:
    """What a strategy uses of a message; making one needs a running task."""
    metrics = MetricRecord({_EXAMPLES: update.weight * _WHOLE})
    content = RecordDict({"arrays": _record(update.arrays), "metrics": metrics})
    return SimpleNamespace(
        content=content, metadata=SimpleNamespace(src_node_id=node), has_error=lambda: False, has_content=lambda: True
    )


def _taken(attributes: Mapping[str, Any]) -> State:
    """The arrays and numbers among a strategy's attributes, by ``name``, ``name/key`` or ``name[place]``."""
    found: State = {}
    for name, value in sorted(attributes.items()):
        if _is_array(value) or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            found[name] = np.asarray(value)
        elif isinstance(value, ArrayRecord):
            found |= {f"{name}@{key}": array.numpy() for key, array in value.items()}
        elif isinstance(value, Mapping) and all(map(_is_array, value.values())):
            found |= {f"{name}/{key}": np.asarray(part) for key, part in value.items()}
        elif isinstance(value, list) and all(map(_is_array, value)):
            found |= {f"{name}[{place:06d}]": np.asarray(part) for place, part in enumerate(value)}
    return found


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic))  # arithmetic makes numbers of arrays without dimensions


def _put(attributes: dict[str, Any], state: Mapping[str, Array]) -> None:
    """The inverse of :func:`_taken`."""
    held: dict[tuple[str, str], State] = {}
    for name, value in sorted(state.items()):
        place = _PLACE.fullmatch(name)
        if place is None:
            attributes[name] = value if value.ndim else value.item()
        else:
            held.setdefault((place[1], place[2]), {})[place[3]] = value
    for (attribute, mark), arrays in held.items():
        attributes[attribute] = _record(arrays) if mark == "@" else arrays if mark == "/" else list(arrays.values())
