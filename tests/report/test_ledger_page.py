"""The ledger's page on entries whose meaning is known."""

from typing import Any

from fedrec.exchange.declaration import DECLARATIONS
from fedrec.report.ledger import collect, flags, is_declared, ledger_page, never_sent


def entry(action: str, name: str, kind: str = "array", **more: Any) -> dict[str, Any]:
    return {
        "market": "jp",
        "round": 1,
        "action": action,
        "kind": kind,
        "name": name,
        "shape": [4, 2],
        "bytes": 32,
        **more,
    }


def test_lines_add_up() -> None:
    rows = [entry("train.pretrain", "encoder.position.weight", rows=4, rows_changed=changed) for changed in (4, 2)]
    (line,) = collect(rows)
    assert (line.times, line.bytes, line.largest, line.changed, line.rows) == (2, 64, 32, [4, 2], 4)


def test_the_support_of_a_table_is_flagged_and_a_whole_one_is_not() -> None:
    def flagged(*changed: int) -> list[str]:
        rows = [entry("train.pretrain", "adaptor.levels.0.weight", rows=4, rows_changed=count) for count in changed]
        return flags(collect(rows), private=False)

    assert "(jp 2 of 4)" in flagged(4, 2)[0]
    assert flagged(4, 4) == flagged(0, 0) == []  # all of them, or a part that was not trained


def test_what_is_not_declared_is_flagged() -> None:
    found = flags(collect([entry("train.pretrain", "adaptation.bias"), entry("query.hello", "age", "scalar")]), False)
    assert ["is not declared" in text for text in found] == [True, True]
    assert flags(collect([entry("train.pretrain", "error", "text")]), False)[0].endswith("events.jsonl)")


def test_an_array_without_noise_in_a_private_run_is_flagged() -> None:
    def told(provenance: str) -> list[str]:
        return flags(collect([entry("query.catalogue", "pairs", provenance=provenance)]), private=True)

    assert "without noise" in told("outside epsilon")[0]
    assert told("noised: multiplier 3, 1 x sampling 1") == []


def test_declarations_are_read_as_the_market_reads_them() -> None:
    assert is_declared("train.codebook", "array", "statistics.count.0")
    assert is_declared("train.codebook", "array", "encoder.linear.weight")
    assert not is_declared("train.codebook", "array", "own_encoder.linear.weight")
    assert not is_declared("train.elsewhere", "scalar", "loss")
    assert is_declared("train.pretrain", "array", "items.weight", "acmr")
    assert not is_declared("train.pretrain", "array", "markets.weight", "acmr")
    assert not is_declared("train.pretrain", "array", "items.weight", "fecosr")
    silent = never_sent(collect([entry("query.gram", "count")]))
    assert "query.gram" not in silent
    assert "query.install" not in silent  # sends nothing by declaration
    assert set(silent) < set(DECLARATIONS)


def test_the_page_escapes_what_markets_say() -> None:
    lines = collect([entry("query.hello", "<script>", "text")])
    assert "<script>" not in ledger_page("run", lines, private=False, masked=False)
