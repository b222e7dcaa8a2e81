"""docs/results/codes.md: codes as features of click-through models, and in sequential ones."""

from commands import CODE_FORMS, CODES_ALIGNMENTS, CODES_BACKBONES, CODES_MAIN, CODES_RECIPE

from tables.figures import (
    HEADLINE,
    MARKETS,
    by,
    markdown,
    mean,
    results,
    rows_of,
    select,
    with_interval,
    with_spread,
)
from tables.table import Table

METHODS = ("nocodes", "randomcodes", "local", "federated", "pooled")
METRICS = ("auc", "gauc", "logloss")


def by_market(metric: str, task: str) -> str:
    """One metric per method and market, three seeds, default backbone and alignment."""
    lines = [["", *MARKETS, "**mean**"]]
    for method in METHODS:
        rows = select("codes_main", task=task, method=method)
        cells = [mean([float(row[metric]) for row in rows if row["market"] == market]) for market in MARKETS]
        seeds = sorted({row["seed"] for row in rows})
        means = [mean([float(row[metric]) for row in rows if row["seed"] == seed]) for seed in seeds]
        lines.append([method, *(f"{cell:.4f}" for cell in cells), with_spread(means)])
    return markdown(lines)


def differences(metric: str, task: str) -> str:
    """Federated minus every other method, three seeds, with intervals over users and seeds."""
    found = by(select("codes_main_intervals", metric=metric, task=task), "other", "market")
    lines = [["", *MARKETS]]
    for other in ("local", "nocodes", "randomcodes", "pooled"):
        lines.append([f"federated − {other}", *(with_interval(found[other, market]) for market in MARKETS)])
    return markdown(lines)


def forms(data: str) -> str:
    """Other forms of codes: AUC, means over markets; every form beside the same model without codes."""
    rows = select(f"code_forms_{data}")
    lines = [["", *METHODS[:4], "federated − local", "seeds"]]
    for form in dict.fromkeys(row["form"] for row in rows):
        own = [row for row in rows if row["form"] == form]
        seeds = sorted({row["seed"] for row in own})
        means = {
            method: [
                mean([float(row["auc"]) for row in own if (row["method"], row["seed"]) == (method, seed)])
                for seed in seeds
            ]
            for method in METHODS[:4]
        }
        gains = [one - other for one, other in zip(means["federated"], means["local"], strict=True)]
        lines.append(
            [form, *(with_spread(means[method]) for method in METHODS[:4]), with_spread(gains), str(len(seeds))]
        )
    return markdown(lines)


def backbones(metric: str) -> str:
    """One seed, three markets: mean over them by backbone and alignment."""
    alignments = ("gram", "semantic", "procrustes", "none")
    columns = [("gram", "nocodes"), ("gram", "randomcodes")]
    columns += [(alignment, method) for alignment in alignments for method in ("local", "federated")]
    header = [method if "codes" in method else f"{method}, {alignment}" for alignment, method in columns]
    lines = [["backbone", "task", *header, "pooled"]]
    for task in ("sampled", "ratings"):
        for backbone in ("widedeep", "deepfm", "dcnv2", "din"):
            figures = []
            for alignment, method in [*columns, ("gram", "pooled")]:
                rows = select("codes_grid", task=task, backbone=backbone, alignment=alignment, method=method)
                figures.append(f"{mean([float(row[metric]) for row in rows]):.4f}")
            lines.append([backbone, task, *figures])
    return markdown(lines)


def alignments() -> str:
    """One seed, seven markets: AUC of every alignment."""
    lines = [["alignment", "codes", *MARKETS, "**mean**"]]
    for run in rows_of("codes_use_runs"):
        for method in ("local", "federated", "pooled"):
            rows = select("codes_use", alignment=run["alignment"], method=method)
            cells = [mean([float(row["auc"]) for row in rows if row["market"] == market]) for market in MARKETS]
            lines.append([run["alignment"], method, *(f"{cell:.4f}" for cell in [*cells, mean(cells)])])
    return markdown(lines)


def use() -> str:
    """What the codes of each alignment are like: one seed, seven markets, means over the markets."""
    lines = [["alignment", "agreement", "by chance", "of items well known", "by chance", "purity", "by chance"]]
    lines[0] += ["explained", "perplexity", "dead"]
    for run in rows_of("codes_use_runs"):
        figures = {
            what: mean(
                [
                    float(row["value"])
                    for row in select("codes_use_use", alignment=run["alignment"], what=f"federated.{what}")
                ]
            )
            for what in ("explained", "perplexity.0", "perplexity.1", "dead.0", "dead.1")
        }
        lines.append(
            [
                run["alignment"],
                *(f"{float(run[name]):.3f}" for name in ("agreement", "chance")),
                *(f"{float(run[name]):.3f}" for name in ("agreement_well_known", "chance_well_known")),
                *(f"{float(run[name]):.2f}" for name in ("purity_federated", "purity_federated_chance")),
                f"{figures['explained']:.2f}",
                f"{figures['perplexity.0']:.0f} of 64, {figures['perplexity.1']:.0f} of 32",
                f"{figures['dead.0']:.0f}, {figures['dead.1']:.0f}",
            ]
        )
    return markdown(lines)


def _suffix(metric: str) -> str:
    return "" if metric == "auc" else f"-{metric}"


_PAGE = "docs/results/codes.md"
TABLES = (
    *(
        Table(f"codes-{task}{_suffix(metric)}", _PAGE, lambda m=metric, t=task: by_market(m, t), (CODES_MAIN,))
        for task in ("sampled", "ratings")
        for metric in METRICS
    ),
    Table("codes-sampled-differences", _PAGE, lambda: differences("auc", "sampled"), (CODES_MAIN,)),
    Table("codes-ratings-differences", _PAGE, lambda: differences("auc", "ratings"), (CODES_MAIN,)),
    Table("codes-alignments", _PAGE, alignments, (CODES_ALIGNMENTS,)),
    Table("codes-use", _PAGE, use, (CODES_ALIGNMENTS,)),
    *(
        Table(f"codes-backbones{_suffix(metric)}", _PAGE, lambda m=metric: backbones(m), (CODES_BACKBONES,))
        for metric in METRICS
    ),
    Table("codes-forms", _PAGE, lambda: forms("xmarket"), (CODE_FORMS,)),
    Table(
        "codes-recipe",
        _PAGE,
        lambda: results(select("xmarket_codes", protocol="family", lam=HEADLINE)),
        (CODES_RECIPE,),
    ),
)
