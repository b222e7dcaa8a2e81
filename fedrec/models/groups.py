"""Which parameters a question may be answered with, by the algorithm that the recipe names."""

from fedrec.components.algorithm import algorithm_named
from fedrec.exchange.declaration import CODEBOOK
from fedrec.exchange.groups import ParameterGroups
from fedrec.models.rqvae import RqVae


def groups_of(action: str, algorithm: str) -> ParameterGroups:
    """The groups of the model that answers ``action``, by the name of the recipe's algorithm."""
    return RqVae.groups if action == CODEBOOK else algorithm_named(algorithm).model().groups
