"""Pictures of the docs that are drawn from rows of measured results.

    python benchmarks/figures.py [docs/images]

market-size.png: what a market that begins gains from the others, by recipe and by how many of its users are known.
"""

import argparse
from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure as Canvas
from results import Row, read_rows
from tables.newcomers import NOBODY, SIZES

from fedrec.files import write_atomic
from fedrec.report.figures import GREY, MARKERS, SERIES, render

_PANEL, _HEIGHT = 4.0, 3.4  # inches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path(__file__).parents[1] / "docs" / "images")
    options = parser.parse_args()
    tables = {name: [row for row in read_rows(table) if row["users"] != NOBODY] for name, table in SIZES.items()}
    markets = sorted({row["market"] for rows in tables.values() for row in rows})
    size = (_PANEL * len(markets), _HEIGHT)
    target = options.out / "market-size.png"
    write_atomic(target, render(lambda canvas: market_size(canvas, tables, markets), size, "png"))
    print(target)


def market_size(canvas: Canvas, tables: dict[str, list[Row]], markets: list[str]) -> None:
    """Gain and its interval over the share of users known, a panel a market, a line a recipe; means over seeds."""
    panels = canvas.subplots(1, len(markets), sharey=True, squeeze=False)[0]
    for axes, market in zip(panels, markets, strict=True):
        axes.axhline(0, color=GREY, linewidth=0.8)
        for (recipe, rows), colour, marker in zip(tables.items(), SERIES, MARKERS, strict=False):
            own = [row for row in rows if row["market"] == market]
            known = sorted({float(row["share"]) for row in own})
            seeds = [[row for row in own if float(row["share"]) == share] for share in known]
            shares = [100 * share for share in known]
            mean, low, high = (
                [fmean(float(row[name]) for row in rows) for rows in seeds]
                for name in ("gain_mean", "gain_low", "gain_high")
            )
            axes.fill_between(shares, low, high, color=colour, alpha=0.12, linewidth=0)
            axes.plot(shares, mean, color=colour, marker=marker, markersize=4, linewidth=1.4, label=recipe)
        axes.set_xscale("log")
        axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
        axes.minorticks_off()
        axes.set_xlabel("% of its users known")
        axes.set_title(market.upper(), loc="left")
    panels[0].set_ylabel("NDCG@10: federated − local")
    panels[0].legend()


if __name__ == "__main__":
    main()
