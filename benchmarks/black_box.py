"""What a market's own answers prove about epsilon, and how far every release moves with one user.

    python benchmarks/black_box.py DATA_DIR [--market in] [--beside jp] [--epsilon 1,4] [--runs 400] [--users 50]

For each epsilon a short private run of two markets is made and audited by its answers (`fedrec audit RUN --black-box`):
rows of benchmarks/results/black_box.csv. Of the first, every release before noise is computed once more without each
of so many users, the ten with the longest and the ten with the shortest histories among them, under the same secret:
rows of benchmarks/results/one_user.csv, in shares of what one user may move. What is there is skipped.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import results
from results import append_rows, measured, say_complete
from runs import finish, settings

from fedrec.data.columns import Columns
from fedrec.privacy.noise import SECRET_BYTES
from fedrec.simulation.black_box import Market, alone, audit_answers, kinds_of
from fedrec.simulation.nodes import set_identity
from fedrec.simulation.run import open_finished
from fedrec.threads import single_threaded

EXTREME = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--market", default="in")
    parser.add_argument("--beside", default="jp")
    parser.add_argument("--epsilon", default="1,4")
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--users", type=int, default=50)
    options = parser.parse_args()
    epsilons = options.epsilon.split(",")
    answered, moved = measured("black_box", "market", "epsilon"), measured("one_user", "market", "epsilon")
    if all((options.market, e) in answered for e in epsilons) and (options.market, epsilons[0]) in moved:
        say_complete("black_box")
        return
    for epsilon in epsilons:
        run = finished_run(options, epsilon)
        if (options.market, epsilon) not in answered:
            found = audit_answers(run, options.runs, options.market)
            name = {"market": options.market, "epsilon": epsilon, "runs": options.runs}
            rows = [{**name, **{key: shown(value) for key, value in one.items()}} for one in found["releases"]]
            print(*rows, sep="\n", flush=True)
            append_rows("black_box", rows)
        if epsilon == epsilons[0] and (options.market, epsilon) not in moved:
            rows = [
                {"market": options.market, "epsilon": epsilon, "what": what, **figures}
                for what, figures in moved_by_users(run, options.market, options.users).items()
            ]
            print(*rows, sep="\n", flush=True)
            append_rows("one_user", rows)


def finished_run(options: argparse.Namespace, epsilon: str) -> Path:
    """A private run of one round, with all defaults but the accountant (the quicker one, which asks for more noise)."""
    out = results.WORK / f"black_box-{options.market}-{epsilon}"
    own = [f"data.markets=[{options.market}, {options.beside}]", f"privacy.epsilon={epsilon}", "federation.rounds=1"]
    own.append("privacy.catalogue=occurring")  # the data come without a list of what is sold
    more = ["privacy.accountant=rdp", "evaluation.methods=[federated, fedease]", "evaluation.protocol=family"]
    finish(out, "run", "fecosr", "--data", options.data, *settings([*own, *more]))
    return out


def moved_by_users(run: Path, name: str, count: int) -> dict[str, dict[str, str | int]]:
    """By release, how far it moves without each of so many users: the most, and the median."""
    set_identity()
    finished = open_finished(run)
    store = next(found for found in finished.stores if found.name == name)
    lengths = store.rows.group_by(Columns.USER).len().sort("len", Columns.USER)[Columns.USER].to_list()
    chosen = [*lengths[:EXTREME], *lengths[-EXTREME:]]
    between = np.random.default_rng(0).permutation(lengths[EXTREME:-EXTREME])[: count - len(chosen)].tolist()
    secret, recipe, received = bytes(range(SECRET_BYTES)), alone(finished.recipe), finished.run.markets / name
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch, single_threaded():
        whole = Market(store.path, Path(scratch) / "with", recipe, received)
        kinds = kinds_of(whole)
        for number, user in enumerate([*chosen, *between]):
            rest = whole.without(store, user, Path(scratch) / str(number))
            for kind in kinds:
                share = float(np.linalg.norm(kind.moved(whole, rest, secret))) / kind.largest
                found.setdefault(kind.what, []).append(share)
    return {
        what: {"users": len(moves), "most": f"{max(moves):.4f}", "median": f"{np.median(moves):.4f}"}
        for what, moves in found.items()
    }


def shown(value: object) -> object:
    return f"{value:.4f}" if isinstance(value, float) else value


if __name__ == "__main__":
    main()
