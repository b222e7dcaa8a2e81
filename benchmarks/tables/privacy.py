"""docs/results/privacy.md: what leaks, and what it costs to hide it."""

from collections.abc import Mapping

from commands import BLACK_BOX, MASKS, PRIVACY_FECOSR, PRIVACY_FEDMM, PRIVATE_STEPS, SINGLE_MARKET_PAIRS

from tables.figures import MARKETS, MissingRowsError, as_measured, by, label, markdown, mean, rows_of
from tables.table import Table

ACCURACY = {name: label(name) for name in ("federated_without_prior", "federated")}
CODE_LEAKS = {
    "user_membership_auc": "user, AUC",
    "best_sellers_precision": "best sellers, precision@50",
    "best_sellers_by_popularity": "by popularity elsewhere",
    "epsilon_at_least": "epsilon proved",
}
LEAKS = {
    "user_membership_auc": "user, AUC",
    "interaction_membership_auc": "interaction, AUC",
    "best_sellers_precision": "best sellers, precision@50",
    "best_sellers_by_popularity": "by popularity elsewhere",
    "user_items_recall": "items of a user, recall@10",
    "epsilon_at_least": "epsilon proved",
}


def privacy(recipe: str, figures: Mapping[str, str], market: str | None = None) -> str:
    """One line per epsilon: means over markets (or one market) and seeds, with the lowest and highest seed's."""
    rows = [row for row in rows_of(f"privacy_{recipe}") if market in {None, row["market"]}]
    if not rows:
        raise MissingRowsError(f"no rows of privacy_{recipe} in {market}")
    lines = [["epsilon", "seeds", *figures.values()]]
    for epsilon in sorted({row["epsilon"] for row in rows}, key=float, reverse=True):
        here = [row for row in rows if row["epsilon"] == epsilon]
        cells = []
        for column in figures:
            seeds = sorted({row["seed"] for row in here if row.get(column)})
            means = [mean([float(r[column]) for r in here if r["seed"] == seed and r[column]]) for seed in seeds]
            spread = f" ({min(means):.4f}–{max(means):.4f})" if len(means) > 1 else ""
            cells.append(f"{mean(means):.4f}{spread}" if means else "")
        lines.append(["∞" if epsilon == "inf" else epsilon, str(len({row["seed"] for row in here})), *cells])
    return markdown(lines)


def single_market_pairs() -> str:
    """Pairs of two users or more whose items no other market sells."""
    found = by(rows_of("single_market_pairs"), "market")
    rows = [found[market,] for market in MARKETS]
    return markdown(
        [
            ["", *MARKETS],
            ["pairs", *(row["pairs"] for row in rows)],
            ["in one market alone", *(row["alone"] for row in rows)],
            ["share", *(f"{float(row['share']):.1%}" for row in rows)],
        ]
    )


_PAGE = "docs/results/privacy.md"
_OF_CODES = {"federated": "federated, AUC", "local": "local, AUC", **CODE_LEAKS}
TABLES = (
    Table("privacy-fecosr", _PAGE, lambda: privacy("fecosr", ACCURACY), (PRIVACY_FECOSR,)),
    Table("privacy-fecosr-in", _PAGE, lambda: privacy("fecosr", ACCURACY, "in"), (PRIVACY_FECOSR,)),
    Table("privacy-fecosr-ca", _PAGE, lambda: privacy("fecosr", ACCURACY, "ca"), (PRIVACY_FECOSR,)),
    Table("privacy-fecosr-leaks", _PAGE, lambda: privacy("fecosr", LEAKS), (PRIVACY_FECOSR,)),
    Table("privacy-fedmm", _PAGE, lambda: privacy("fedmm", _OF_CODES), (PRIVACY_FEDMM,)),
    Table("black-box", _PAGE, lambda: as_measured("black_box"), (BLACK_BOX,)),
    Table("one-user", _PAGE, lambda: as_measured("one_user"), (BLACK_BOX,)),
    Table("private-steps", _PAGE, lambda: as_measured("private_steps"), (PRIVATE_STEPS,)),
    Table("masks", _PAGE, lambda: as_measured("masks"), (MASKS,)),
    Table("single-market-pairs", _PAGE, single_market_pairs, (SINGLE_MARKET_PAIRS,)),
)
