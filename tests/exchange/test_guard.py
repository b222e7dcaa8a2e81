"""Nothing leaves a private market without a provenance."""

import numpy as np
import pytest

from fedrec.errors import EgressError
from fedrec.exchange.declaration import FINETUNE, HELLO, PRETRAIN
from fedrec.exchange.guard import GuardStage
from fedrec.exchange.payload import DERIVED, OUTSIDE, PUBLIC, Origin, Payload, Provenance
from fedrec.privacy.release import Release

RELEASE = Release("update", 1.1, 0.1, 3)
NOISED = Provenance("released", RELEASE, "update:1")


def guard(outside=True):
    charged = []
    return GuardStage(lambda key, release: charged.append((key, release)), lambda _: outside), charged


def payload(**changes):
    values = {"arrays": {"encoder.weight": np.zeros(3), "adaptor.bias": np.zeros(2)}, "scalars": {"weight": 5.0}}
    return Payload(**{**values, **changes})


@pytest.mark.parametrize(
    "provenance", [{}, {"encoder.weight": NOISED}, {"*": OUTSIDE}, {"*": NOISED, "adaptor.bias": OUTSIDE}]
)
def test_arrays_of_users_without_noise_are_refused_and_nothing_is_charged(provenance):
    stage, charged = guard()
    with pytest.raises(EgressError, match="made of users without noise; nothing was sent"):
        stage.outgoing(payload(provenance=provenance), Origin("jp", 1, PRETRAIN))
    assert charged == []


def test_statistics_count_as_arrays():
    stage, _ = guard()
    with pytest.raises(EgressError, match=r"statistics\.count\.0"):
        stage.outgoing(
            Payload(statistics={"count.0": np.zeros(2)}, provenance={"encoder.weight": PUBLIC}),
            Origin("jp", 1, PRETRAIN),
        )


def test_every_array_of_a_release_is_paid_with_its_key():
    """The budget charges a key once, however many arrays it has."""
    stage, charged = guard()
    sent = stage.outgoing(payload(provenance={"*": NOISED}), Origin("jp", 1, PRETRAIN))
    assert set(charged) == {("update:1", RELEASE)}
    assert sent.provenance["encoder.weight"] == NOISED
    assert sent.provenance["weight"] == PUBLIC
    assert "multiplier 1.1, 3 x sampling 0.1" in NOISED.describe()


def test_what_is_made_of_releases_alone_costs_nothing():
    stage, charged = guard()
    stage.outgoing(payload(provenance={"*": DERIVED}), Origin("jp", 1, PRETRAIN))
    assert charged == []


@pytest.mark.parametrize("outside", [True, False])
def test_figures_outside_epsilon_leave_or_stay(outside):
    stage, _ = guard(outside)
    sent = stage.outgoing(Payload(scalars={"validation": 0.123456, "epochs": 3.0}), Origin("jp", 0, FINETUNE))
    assert sent.scalars == ({"validation": 0.123, "epochs": 3.0} if outside else {})
    hello = {"users": 5.0, "items": 3.0, "interactions": 9.0, "has_text": 0.0, "has_families": 0.0}
    sent = stage.outgoing(Payload(scalars=hello, texts={"market": "jp", "device": "cpu"}), Origin("jp", 0, HELLO))
    assert ("interactions" in sent.scalars) == outside
    assert set(hello) - set(sent.scalars) <= {"interactions"}
    assert set(sent.texts) == {"market", "device"}
