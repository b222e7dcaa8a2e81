"""What an audit found, as rows: one an attack and observer, a column a market."""

from collections.abc import Mapping
from typing import Any

from fedrec.attacks.observation import UPLOADS
from fedrec.report.tables import Row

# The figure that an attack is known by, and what it is compared with.
HEADLINES = {
    "best sellers": ("precision@50", "precision@50 by popularity"),
    "catalogue": ("auc", "auc by popularity"),
    "items behind codes": ("top 1", "top 1 by the codebook"),
    "items of a user": ("recall@10", "by popularity"),
    "one known item": ("another item", ""),
}
_MEMBERSHIP = ("auc", "")
MOVED_TOLERANCE = 1e-3  # of single precision


def headline(attack: str) -> tuple[str, str]:
    """The figure an attack is known by, and the one it must beat (empty: chance, .5)."""
    return HEADLINES.get(attack, _MEMBERSHIP)


def attack_rows(result: Mapping[str, Any], controls: bool) -> tuple[Row, list[Row]]:
    """Every attack's figure in every market; where something simpler guesses too, its figure after a slash.

    ``controls``: the checks of the audit instead of the attacks, with what must come out.
    """
    findings = [finding for finding in result["findings"] if bool(finding["control"]) == controls]
    markets = sorted({finding["market"] for finding in findings})
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for finding in findings:
        figure, rival = headline(finding["attack"])
        text = f"{finding['figures'][figure]:.3f}"
        if rival:
            text += f" / {finding['figures'][rival]:.3f}"
        key = (finding["attack"], finding["observer"], finding["by"], figure, finding["control"])
        lines.setdefault(key, {})[finding["market"]] = text
    header = ["attack", "seen by", "made of", "figure", *(["expected"] if controls else []), *markets]
    rows: list[Row] = [
        [*key[:4], *([key[4]] if controls else []), *(found.get(market, "") for market in markets)]
        for key, found in lines.items()
    ]
    return header, rows


def strongest(result: Mapping[str, Any], attack: str = "membership of a user") -> dict[str, float]:
    """The highest AUC of an attack on each market, whoever sees it; controls do not count.

    The highest of several is a little above .5 even where there is nothing to see.
    """
    best: dict[str, float] = {}
    for finding in result["findings"]:
        hidden = result["masked"] and finding["observer"] == UPLOADS  # the server of a masked run sees sums alone
        if finding["attack"] == attack and not finding["control"] and not hidden:
            best[finding["market"]] = max(best.get(finding["market"], 0.0), finding["figures"]["auc"])
    return best


def audit_lines(result: Mapping[str, Any]) -> list[str]:
    """What stands below the tables."""
    lines = [f"replay: {result['replay']}; {result['users_left_out']:.0%} of the users were left out by chance"]
    if result["masked"]:
        lines.append(f"masked: the server of this run saw sums alone; rows of {UPLOADS!r} say what the masks hide")
    lines += [f"not attacked: {market}: {reason}" for market, reason in result["skipped"].items()]
    if result["mechanism"] is not None:
        found = result["mechanism"]
        broken = found["epsilon_at_least"] > found["epsilon_stated"]
        lines.append(
            f"noise: {found['canaries']} users made to be seen prove epsilon {found['epsilon_at_least']:.2f} at least, "
            f"{found['epsilon_stated']:.2f} is stated: {'IT IS BROKEN' if broken else 'not refuted'} "
            f"(so many can prove {found['provable']:.2f} at most)"
        )
    return lines


def black_box_rows(result: Mapping[str, Any]) -> tuple[Row, list[Row]]:
    """One row a kind of release: what is stated, and what the answers prove."""
    header = ["release", "stated", "proved", "fitted", "provable", "moved by", "verdict"]
    rows: list[Row] = [
        [
            found["what"],
            *(f"{found[name]:.2f}" for name in ("epsilon_stated", "epsilon_at_least", "fitted", "provable", "moved")),
            "IT IS BROKEN" if is_broken(found) else "not refuted",
        ]
        for found in result["releases"]
    ]
    return header, rows


def is_broken(found: Mapping[str, float]) -> bool:
    """Whether answers prove more than is stated, or the sum before noise moved by more than one user's share."""
    return found["epsilon_at_least"] > found["epsilon_stated"] or found["moved"] > 1 + MOVED_TOLERANCE


def black_box_lines(result: Mapping[str, Any]) -> list[str]:
    """What the columns mean."""
    return [
        f"proved: epsilon at delta {result['delta']:g}, at 95 % confidence, by counts of {result['runs']} answers "
        "each way, each of a fresh secret, in a round that has all of the epsilon; so many prove `provable` at most",
        "fitted: the same if both kinds of answer were normally distributed, which they need not be",
        "moved by: how far the sum before noise moved with the user, in shares of one user; 1 is accounted for",
    ]
