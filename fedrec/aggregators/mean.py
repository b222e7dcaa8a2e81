"""FedAvg (McMahan et al., AISTATS 2017): the weighted mean is the next model."""

from collections.abc import Mapping, Sequence

from fedrec.components.aggregator import Aggregator, Array, State, Update, weighted_average
from fedrec.components.section import without_keys


class Mean(Aggregator):
    """The weighted mean, as it is."""

    Settings = without_keys("mean")
    linear = True

    def apply(
        self, current: Mapping[str, Array], updates: Sequence[Update], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], State]:
        """It remembers nothing."""
        return weighted_average(updates), {}
