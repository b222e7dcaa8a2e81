"""Markets, a federation, its figures, recommendations: all from Python. `python examples/from_python.py DIR`."""

import sys
from pathlib import Path

import fedrec


def main(folder: Path) -> None:
    """Everything goes below ``folder``."""
    settings = fedrec.SynthSettings(markets=("alfa", "bravo"), users=200, items=120)
    fedrec.write_synthetic_markets(folder / "data", settings)

    overrides = {
        "federation.rounds": 4,
        "finetune.epochs": 4,
        "evaluation.methods": ["federated", "local", "popularity"],
    }
    run = fedrec.run("fecosr", data=folder / "data", out=folder / "run", overrides=overrides)
    print(run.results().filter(metric="ndcg@10").pivot("method", index="market", values="value"))
    print(run.differences().filter(metric="ndcg@10", other="local"))

    recommender = run.recommender("alfa")
    found = recommender.recommend(user="alfa-00000", k=3)
    print(f"for alfa-00000, by {found.method}:", [item.item for item in found.items])
    history = [item.item for item in found.items[:2]]  # somebody new, who has just had these two
    everybody = recommender.recommend_all(k=3)
    print(everybody.filter(rank=1)["item"].value_counts(sort=True).head(3))
    print(f"after {history}:", [item.item for item in recommender.recommend(history, k=3).items])
    print("the whole report:", run.path / "report.html")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
