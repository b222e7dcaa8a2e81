"""Data folders of which a file is damaged, and the commands that read them."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from fedrec.data.columns import Columns
from fedrec.data.store import content_hash
from tests.fuzz.damage import copy, spoil, spoil_yaml
from tests.fuzz.ground import BASELINES, ground
from tests.fuzz.imports import MARKER, ROW
from tests.fuzz.judge import Case, Step, command
from tests.fuzz.values import damaged, word


def store_case(chance: random.Random, folder: Path) -> Case:
    """A data folder, spoilt, and one command on it."""
    data = folder / "data"
    copy(ground() / "data", data)
    market = data / chance.choice(["alfa", "bravo"])
    spoilers = [_file] * 4 + [_description] * 3 + [_families] * 3 + [_interactions] * 5 + [_items] * 3 + [_layout]
    what = chance.choice(spoilers)(chance, market)
    name, steps = _steps(chance)
    return Case(f"{name}: {market.name}/{what}", steps, marker=ROW, tidy=True)


def _steps(chance: random.Random) -> tuple[str, list[Step]]:
    shape = chance.random()
    if shape < 0.4:
        return "describe", [command("data", "describe", "data")]
    if shape < 0.55:
        return "families", [command("data", "families", "data"), command("data", "describe", "data")]
    overrides = [*BASELINES]
    if shape < 0.7:
        more = ["evaluation.protocol=family", "evaluation.protocol=acmr", "evaluation.ties=random",
                "evaluation.holdout=basket",
                "evaluation.holdout=untied", "data.user_share=0.5", "data.markets=[alfa]",
                "evaluation.protocol=temporal"]  # fmt: skip
        overrides.append(chance.choice(more))
    arguments = ["run", "baselines", "--data", "data", "--out", "out"]
    for override in overrides:
        arguments += ["--set", override]
    return f"baselines {overrides[-1]}", [command(*arguments)]


def _file(chance: random.Random, market: Path) -> str:
    path = chance.choice(sorted(market.iterdir()))
    return f"{path.name}: {spoil(chance, path)}"


def _description(chance: random.Random, market: Path) -> str:
    """``market.yaml`` says something else."""
    path = market / "market.yaml"
    if chance.random() < 0.6:
        return f"market.yaml: {spoil_yaml(chance, path)}"
    values: dict[str, Any] = yaml.safe_load(path.read_text())
    key = chance.choice(list(values))
    odd: list[Any] = [None, True, 0, -1, 1.5, 10**30, float("nan"), float("inf"), "", "x", [], [1], {}, {"a": 1},
    word(chance),
                      "bravo", "alfa", "x" * 5000, "\x1b[31m", "9" * 5000]  # fmt: skip
    values[key] = chance.choice(odd)
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    return f"market.yaml: {key} is {str(values[key])[:40]!r}"


def _families(chance: random.Random, market: Path) -> str:
    """``families.csv`` is odd, and holds the marker in rows that are in order."""
    path = market / "families.csv"
    sound = path.read_text() + f"{MARKER},{MARKER}x\n"
    odd = word(chance)
    shapes: dict[str, Callable[[], str | bytes]] = {
        "header alone": lambda: "item_id,family\n",
        "no header": lambda: sound.partition("\n")[2],
        "another header": lambda: sound.replace("item_id,family", f"{MARKER},family"),
        "three fields": lambda: sound + f"a,b,{MARKER}\n",
        "one field": lambda: sound + "a\n",
        "empty fields": lambda: sound + ",\n",
        "a blank line": lambda: sound + "\n\n",
        "a quote that stays open": lambda: sound.replace("item_id,family\n", 'item_id,family\n"', 1),
        "a contradiction": lambda: f"{sound}item-x,a\nitem-x,b\n",
        "an odd family": lambda: sound.replace(MARKER + "x", odd),
        "an odd item": lambda: f"{sound}{odd},a\n",
        "a long field": lambda: f"{sound}{'x' * 200_000},a\n",
        "bytes": lambda: damaged(chance, sound.encode())[1],
        "all of one family": lambda: "item_id,family\n" + "".join(f"item-{n:05d},item-00000\n" for n in range(40)),
        "CR alone": lambda: sound.replace("\n", "\r"),
        "odd line ends": lambda: sound.replace("\n", "\u2028"),
        "UTF-16": lambda: sound.encode("utf-16"),
        "semicolons": lambda: sound.replace(",", ";"),
    }
    what = chance.choice(list(shapes))
    content = shapes[what]()
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return f"families.csv: {what}"


def _interactions(chance: random.Random, market: Path) -> str:
    """Other interactions, whose hash may stand in ``market.yaml``."""
    frame = pl.read_parquet(market / "interactions.parquet")
    what, frame = _odd_frame(chance, frame, list(Columns.INTERACTIONS))
    frame.write_parquet(market / "interactions.parquet")
    if chance.random() < 0.75:
        _agree(market, frame, sizes=chance.random() < 0.7)
        what += ", hash agrees"
    return f"interactions.parquet: {what}"


def _items(chance: random.Random, market: Path) -> str:
    frame = pl.read_parquet(market / "items.parquet")
    what, frame = _odd_frame(chance, frame, list(Columns.ITEMS))
    frame.write_parquet(market / "items.parquet")
    return f"items.parquet: {what}"


def _odd_frame(chance: random.Random, frame: pl.DataFrame, names: list[str]) -> tuple[str, pl.DataFrame]:
    """Another frame: columns of other types, names or values, rows that are gone or there twice."""
    name = chance.choice(names)
    column = frame[name]
    texts = [
        None,
        "",
        " ",
        "x",
        "\x1b[31m",
        "a\nb\nc\nd",
        "x" * 5000,
        "a\0b",
        "\u202eabc",
        "\u00e9",
        "e\u0301",
        ",",
        '"',
    ]
    numbers = [None, 0, -1, 2**62, -(2**62), 1, 253402300800, -62135596801]
    floats = [None, float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e300, 1e-320]
    odd = {pl.String: texts, pl.Int64: numbers, pl.Int32: [0, 32_400, -86_400, None], pl.Float64: floats}[
        type(column.dtype)
    ]
    value = pl.lit(chance.choice(odd), column.dtype)
    shapes: dict[str, Callable[[], pl.DataFrame]] = {
        f"all {name} the same": lambda: frame.with_columns(value.alias(name)),
        f"one odd {name}": lambda: frame.with_columns(
            pl.when(pl.int_range(pl.len()) == 3).then(value).otherwise(pl.col(name)).alias(name)
        ),
        f"no {name}": lambda: frame.drop(name),
        f"{name} renamed": lambda: frame.rename({name: word(chance) or "x"}),
        f"{name} of another type": lambda: frame.with_columns(
            pl.lit(chance.choice([1, 1.5, True, b"x", "x", [1]])).alias(name)
        ),
        "columns in another order": lambda: frame.select(reversed(frame.columns)),
        "a column more": lambda: frame.with_columns(pl.lit(MARKER).alias(chance.choice(["x", "\x1b[31m", "y" * 3000]))),
        "no rows": lambda: frame.head(0),
        "one row": lambda: frame.head(1),
        "rows twice": lambda: pl.concat([frame, frame]),
        "rows in another order": lambda: frame.reverse(),
        "half the rows": lambda: frame.head(frame.height // 2),
        "two users": lambda: frame.head(8),
        "many columns": lambda: pl.DataFrame({f"column-{n}": [1] for n in range(300)}),
    }
    what = chance.choice(list(shapes))
    return what, shapes[what]()


def _agree(market: Path, frame: pl.DataFrame, sizes: bool) -> None:
    """Let ``market.yaml`` say what the interactions are now."""
    path = market / "market.yaml"
    values = yaml.safe_load(path.read_text())
    odd = any(kind.is_nested() or kind == pl.Binary for kind in frame.dtypes)
    if set(Columns.INTERACTIONS) <= set(frame.columns) and not odd:
        values["content_hash"] = content_hash(frame)
        if sizes:
            values |= {
                "users": frame[Columns.USER].n_unique(),
                "items": frame[Columns.ITEM].n_unique(),
                "interactions": frame.height,
            }
    path.write_text(yaml.safe_dump(values))


def _layout(chance: random.Random, market: Path) -> str:
    """The folders are not as they should be."""
    shape = chance.choice(["an odd name", "twice", "empty", "a file more", "all gone", "a link to itself"])
    if shape == "an odd name":
        market.rename(market.with_name(chance.choice(["\x1b[31m", "a\nb\nc\nd", "\udcff", " ", "x" * 200, "\u202e"])))
    elif shape == "twice":
        copy(market, market.with_name("copy"))
    elif shape == "empty":
        for path in market.iterdir():
            path.unlink()
    elif shape == "a file more":
        (market.parent / "zulu").write_text("x")
    elif shape == "all gone":
        for path in market.parent.glob("*/*"):
            path.unlink()
    else:
        (market.parent / "zulu").symlink_to(market.parent)
    return shape
