"""Which parameters a question may be answered with, by the model that the recipe names."""

from fedrec.exchange.declaration import CODEBOOK
from fedrec.exchange.groups import ParameterGroups
from fedrec.models.federated import FederatedModel
from fedrec.models.pointwise.acmr import Acmr
from fedrec.models.rqvae import RqVae
from fedrec.models.sequential import SequentialModel
from fedrec.recipe import ModelKind

_MODELS: dict[ModelKind, type[FederatedModel]] = {"fecosr": SequentialModel, "acmr": Acmr}


def groups_of(action: str, kind: ModelKind) -> ParameterGroups:
    """The groups of the model that answers ``action``."""
    return RqVae.groups if action == CODEBOOK else _MODELS[kind].groups
