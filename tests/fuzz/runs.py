"""Run folders of which a file is damaged, and the commands that read them."""

import json
import random
import shutil
from pathlib import Path

from tests.fuzz.damage import agree, copy, spoil
from tests.fuzz.ground import ground
from tests.fuzz.judge import Case, Step, command
from tests.fuzz.values import word

_READS = {  # the files that a command reads, by pattern
    "report": ["recipe.yaml", "manifest.json", "summary.json", "events.jsonl", "journal.json",
    "markets/*/*.safetensors",
               "markets/*/*.json", "data/*/*"],
    "ledger": ["recipe.yaml", "manifest.json", "markets/*/ledger.jsonl", "ledger.jsonl", "markets/*/recipe.json"],
    "compare": ["recipe.yaml", "manifest.json", "summary.json", "markets/*/per_user.safetensors",
    "markets/*/report.json"],
    "recommend": ["recipe.yaml", "manifest.json", "summary.json", "markets/*/*", "shared/*", "data/*/*"],
    "private": ["markets/alfa/*"],
    "resume": ["recipe.yaml", "manifest.json", "journal.json", "checkpoints/*/*/*", "shared/*", "markets/*/*",
    "events.jsonl"],
    "adapt": ["shared/*", "recipe.yaml", "manifest.json"],
    "audit": ["recipe.yaml", "manifest.json", "summary.json", "markets/*/*", "checkpoints/*/*/*", "shared/*"],
    "forget": ["recipe.yaml", "manifest.json", "summary.json", "markets/*/*"],
}  # fmt: skip
_COMMANDS = ["report"] * 6 + ["ledger"] * 5 + ["compare"] * 6 + ["recommend"] * 6 + ["private"] * 2 + ["resume"] * 4
_COMMANDS += ["adapt"] * 3 + ["audit"]
_RUNNING = {"resume", "adapt", "audit", "forget"}  # may also fail on the way, which is exit 1


def run_case(chance: random.Random, folder: Path) -> Case:
    """A finished run or one that was interrupted, one or two files spoilt, and one command."""
    name = "forget" if chance.random() < 0.005 else chance.choice(_COMMANDS)
    sends = name in {"adapt", "audit", "resume", "forget", "private"} or chance.random() < 0.6
    run = folder / "run"
    copy(ground() / ("federated" if sends else "baselines") / "run", run)
    if name == "resume":
        _interrupt(chance, run)
    done = [_spoil_one(chance, run, name) for _ in range(chance.choice([1, 1, 1, 2]))]
    steps, said = _steps(chance, name)
    codes = {0, 1, 2} if name in _RUNNING else {0, 2}
    return Case(f"{said} {'federated' if sends else 'baselines'}: {'; '.join(done)}", steps, (codes,))


def _spoil_one(chance: random.Random, run: Path, name: str) -> str:
    everything = chance.random() < 0.1
    patterns = ["**/*"] if everything else [chance.choice(_READS[name])]
    files = sorted({path for pattern in patterns for path in run.glob(pattern) if path.is_file()})
    if not files:
        return "nothing"
    path = chance.choice(files)
    if path.is_symlink():
        return "nothing more"
    what = spoil(chance, path)
    if path.is_file() and chance.random() < 0.5:
        agree(path)
        what += ", hashes agree"
    return f"{path.relative_to(run)}: {what}"


def _steps(chance: random.Random, name: str) -> tuple[list[Step], str]:
    """The command, and what it is called in words."""
    odd = word(chance).replace("\0", "")
    options: list[str] = []
    if name == "report":
        options = ["--metric", chance.choice(["ndcg@20", "auc", odd])] if chance.random() < 0.15 else []
        return [command("report", "run", *options)], " ".join(["report", *options])
    if name == "ledger":
        return [command("ledger", "run")], name
    if name == "compare":
        other = ground() / chance.choice(["federated", "baselines"]) / "run"
        options = ["--out", "page"] if chance.random() < 0.2 else []
        options += ["--metric", odd] if chance.random() < 0.05 else []
        options += ["--method", chance.choice(["popularity", odd])] if chance.random() < 0.1 else []
        return [command("compare", "run", *([other] if chance.random() < 0.8 else []), *options)], " ".join(
            [name, *options]
        )
    if name in {"recommend", "private"}:
        whom = chance.choice([["--user", "alfa-00000"]] * 5 + [["--history", "item-00001,item-00002"],
                              ["--history", odd], ["--user", odd]])  # fmt: skip
        market = odd if chance.random() < 0.05 else "alfa"
        options = ["-k", chance.choice(["0", "-1", "1000", "9" * 30])] if chance.random() < 0.08 else []
        options += (
            ["--method", chance.choice(["popularity", "federated", "fedease", odd])] if chance.random() < 0.3 else []
        )
        options += ["--data", str(ground() / "data" / "alfa")] if name == "private" else []
        step = command("recommend", "run", "--market", market, *whom, *options)
        return [step], " ".join([name, market, *whom, *options])
    if name == "resume":
        return [command("run", "--resume", "run")], name
    if name == "adapt":
        source = chance.choice(["run", "run/shared"])
        return [command("adapt", source, ground() / "data", "--out", "adapted")], f"adapt {source}"
    if name == "audit":
        options = (
            ["--left-out", chance.choice(["0", "nan", "inf", "1e-9", "0.999", "-1"])] if chance.random() < 0.2 else []
        )
        return [command("audit", "run", *options)], " ".join([name, *options])
    whom = ["--market", "alfa", "--user", "alfa-00000"]
    return [command("forget", "run", *whom, "--data", "less", "--out", "again")], name


def _interrupt(chance: random.Random, run: Path) -> None:
    """Take the run back to a moment before its end."""
    (run / "summary.json").unlink()
    path = run / "journal.json"
    journal = json.loads(path.read_text())
    steps = list(journal["steps"])
    kept = len(steps) if chance.random() < 0.5 else chance.randrange(len(steps))
    journal["steps"] = {step: journal["steps"][step] for step in steps[:kept]}
    path.write_text(json.dumps(journal))
    if chance.random() < 0.1:
        shutil.rmtree(run / "checkpoints")
