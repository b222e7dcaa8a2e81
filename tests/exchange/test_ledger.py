"""The pipeline, the declaration and the ledger."""

from pathlib import Path

import numpy as np
import pytest

from fedrec.components.stage import Place, Stage
from fedrec.errors import EgressError
from fedrec.exchange.declaration import DECLARATIONS, FINETUNE, HELLO, INSTALL, PRETRAIN, REPORT
from fedrec.exchange.groups import ParameterGroups
from fedrec.exchange.ledger import CountStage
from fedrec.exchange.payload import Origin, Payload
from fedrec.exchange.pipeline import UpdatePipeline
from fedrec.files import read_json_lines

GROUPS = ParameterGroups(shared=("encoder.",), private=("adaptation.",))
TABLE = np.zeros((3, 2), np.float32)

UNDECLARED = {
    "private parameter": (PRETRAIN, Payload({"adaptation.identity": TABLE})),
    "unknown parameter": (PRETRAIN, Payload({"head.weight": TABLE})),
    "shared parameter outside a round": (FINETUNE, Payload({"encoder.w": TABLE})),
    "per-user metric": (REPORT, Payload(scalars={"federated.ndcg@10.user-7": 1.0})),
    "unknown scalar": (HELLO, Payload(scalars={"revenue": 1.0})),
    "nameless text": (INSTALL, Payload(texts={"": "user-17"})),
    "unknown text": (PRETRAIN, Payload(texts={"log": "u-17 bought b-3"})),
}


@pytest.mark.parametrize(("action", "payload"), UNDECLARED.values(), ids=UNDECLARED)
def test_what_is_undeclared_is_refused_before_it_is_written(action: str, payload: Payload, tmp_path: Path) -> None:
    stage = CountStage(tmp_path / "ledger.jsonl", GROUPS)
    with pytest.raises(EgressError, match="not declared to leave"):
        stage.outgoing(payload, Origin("jp", 1, action))
    assert not (tmp_path / "ledger.jsonl").exists()


def test_every_action_is_declared() -> None:
    from fedrec.clients.app import TASKS

    assert set(DECLARATIONS) == set(TASKS)


def test_the_ledger_says_how_many_rows_changed(tmp_path: Path) -> None:
    """Of three rows one differs from what the server sent; a vector has no rows; 3 x 2 float32 are 24 bytes."""
    changed = TABLE.copy()
    changed[1, 0] = 1
    payload = Payload(
        {"encoder.table": changed, "encoder.bias": np.zeros(2, np.float32)},
        {"loss": 0.5},
        base={"encoder.table": TABLE, "encoder.bias": np.zeros(2, np.float32)},
    )
    CountStage(tmp_path / "ledger.jsonl", GROUPS).outgoing(payload, Origin("jp", 4, PRETRAIN))
    bias, table, loss = read_json_lines(tmp_path / "ledger.jsonl")
    assert table == {
        "market": "jp", "round": 4, "action": PRETRAIN, "kind": "array", "name": "encoder.table",
        "shape": [3, 2], "dtype": "float32", "bytes": 24, "rows": 3, "rows_changed": 1,
    }  # fmt: skip
    assert "rows" not in bias
    assert (loss["kind"], loss["name"]) == ("scalar", "loss")


class Times(Stage):
    """Multiplies on the way out, divides on the way in."""

    place = Place.CHANGE

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def outgoing(self, payload: Payload, origin: Origin) -> Payload:
        return Payload({name: array * self.factor + 1 for name, array in payload.arrays.items()})

    def incoming(self, payload: Payload, origin: Origin) -> Payload:
        return Payload({name: (array - 1) / self.factor for name, array in payload.arrays.items()})


def test_the_server_undoes_stages_in_reverse() -> None:
    """x -> 2x + 1 -> 5(2x + 1) + 1: only the reverse order gives x back."""
    pipeline = UpdatePipeline([Times(2), Times(5)])
    origin = Origin("jp", 1, PRETRAIN)
    sent = pipeline.outgoing(Payload({"encoder.w": np.array([1.0, -3.0])}), origin)
    assert sent.arrays["encoder.w"].tolist() == [16.0, -24.0]
    assert pipeline.incoming(sent, origin).arrays["encoder.w"].tolist() == [1.0, -3.0]
