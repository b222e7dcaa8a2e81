"""Figures: drawn once, kept as SVG, PNG and CSV, and put into pages where they follow the reader's colours."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure as Canvas

from fedrec.files import write_atomic

# Name of a colour in the pages' style sheet, and what it is on white. On dark ground the style sheet has lighter ones.
INK, QUIET, GROUND = "#1b1f24", "#6b7280", "#fefefe"
BLUE, BROWN, GREEN, GREY, PURPLE, ORANGE, TEAL, RED = (
    "#1f5fae",
    "#8a6414",
    "#2e7d32",
    "#71757b",
    "#7b4173",
    "#b3541e",
    "#00796b",
    "#b3261e",
)
COLOURS = {
    INK: "ink",
    QUIET: "quiet",
    GROUND: "ground",
    BLUE: "blue",
    BROWN: "brown",
    GREEN: "green",
    GREY: "grey",
    PURPLE: "purple",
    ORANGE: "orange",
    TEAL: "teal",
    RED: "red",
}
SERIES = (BLUE, ORANGE, TEAL, PURPLE, BROWN, GREEN, RED, GREY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "fedrec",
    "svg.fonttype": "none",  # texts stay texts: they can be read out, searched and copied
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "axes.facecolor": "none",
}
WIDTH = 4.8  # inches: readable on a phone, two beside each other on a desk
Cell = str | int | float | None


def look(number: int) -> tuple[str, str]:
    """Colour and marker of one of many series; the first 64 all differ."""
    return SERIES[number % len(SERIES)], MARKERS[(number + number // len(SERIES)) % len(MARKERS)]


@dataclass(frozen=True)
class Figure:
    """One figure: ``says`` is what a reader who cannot see it is told, ``rows`` are its data under ``header``."""

    name: str
    title: str
    says: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    draw: Callable[[Canvas], None]
    height: float = 3.0  # inches
    width: float = WIDTH
    note: str = ""

    @cached_property
    def svg(self) -> str:
        """A drawing of its own, dark on white."""
        return render(self.draw, (self.width, self.height), "svg").decode()

    def png(self) -> bytes:
        """The same in pixels."""
        return render(self.draw, (self.width, self.height), "png")

    def csv(self) -> str:
        """What was drawn."""
        return csv_text(self.header, self.rows)

    def inline(self) -> Markup:
        """For a page: in the page's colours, with its text alternative."""
        return inline(self.svg, self.name, self.title, self.says)


def csv_text(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table as CSV."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    return stream.getvalue()


def write_figures(folder: Path, figures: Iterable[Figure]) -> None:
    """Every figure as ``NAME.svg``, ``NAME.png`` and ``NAME.csv``."""
    for figure in figures:
        write_atomic(folder / f"{figure.name}.svg", figure.svg.encode())
        write_atomic(folder / f"{figure.name}.png", figure.png())
        write_atomic(folder / f"{figure.name}.csv", figure.csv().encode())


def render(draw: Callable[[Canvas], None], size: tuple[float, float], kind: str) -> bytes:
    """The bytes of a drawing of ``size`` inches; the same for the same drawing."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        canvas = Canvas(figsize=size, layout="constrained")
        canvas.set_facecolor("none" if kind == "svg" else GROUND)
        draw(canvas)
        stream = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        canvas.savefig(stream, format=kind, dpi=160, metadata=metadata)
    return stream.getvalue()


def inline(svg: str, name: str, title: str, says: str) -> Markup:
    """An SVG as part of a page: colours by name, identifiers of its own, and words for who cannot see it."""
    drawing = svg[svg.index("<svg") :]
    for colour, variable in COLOURS.items():
        drawing = drawing.replace(colour, f"var(--{variable})")
    drawing = re.sub(r"(\bid=\"|href=\"#|url\(#)", rf"\g<1>{name}-", drawing)
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    # Scaled by the page: without width and height of its own, and never wider than drawn.
    opening, _, rest = drawing.partition(">")
    width = re.search(r'width="([\d.]+)pt"', opening)
    opening = re.sub(r' (width|height)="[\d.]+pt"', "", opening)
    style = f' style="max-width: {float(width[1]) * 4 / 3:.0f}px"' if width else ""
    label = f' role="img" aria-labelledby="{name}-title {name}-says"{style}>'
    words = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-says">{escape(says)}</desc>'
    return Markup(f"{opening}{label}{words}{rest}")  # noqa: S704 - drawn here, words escaped
