"""The runs that there are: each trains once and gives figures of one model or several."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from fedrec.models.pointwise.bert4rec import Bert4Rec
from fedrec.models.pointwise.conet import CoNet
from fedrec.models.pointwise.cross_stitch import CrossStitch
from fedrec.models.pointwise.ddtcdr import Ddtcdr
from fedrec.models.pointwise.interface import PointwiseModel, Sizes
from fedrec.models.pointwise.mmoe import Mmoe
from fedrec.models.pointwise.neumf import NeuMF
from fedrec.models.pointwise.wide_and_deep import WideAndDeep
from fedrec.simulation.table3.centralised import (
    BASELINES,
    acmr,
    acmr_alone,
    acmr_left_out,
    alone,
    among_own,
    baselines,
    forec,
    m3rec,
    together,
)
from fedrec.simulation.table3.federations import federated
from fedrec.simulation.table3.ground import FIXED, Ground, Results


@dataclass(frozen=True)
class Entry:
    """A run: which models it gives figures of, and how."""

    models: tuple[str, ...]
    run: Callable[[Ground], Results]


def _for_each(name: str, make: Callable[[Sizes], PointwiseModel]) -> Entry:
    return Entry((name,), partial(alone, lambda sizes, market: make(sizes), name))


def _for_all(name: str, make: Callable[[Sizes], PointwiseModel]) -> Entry:
    return Entry((name,), partial(together, make, name))


def _acmr(name: str, run: Callable[[str, Ground], Results]) -> Entry:
    return Entry((f"{name}, no fine-tuning", name), partial(run, name))


def _among_own(entry: Entry) -> Entry:
    names = {model: f"{model} among own items" for model in entry.models}
    return Entry(tuple(names.values()), partial(among_own, entry.run, names))


def _federation(recipe: str, overrides: Sequence[str], methods: Mapping[str, str]) -> Entry:
    return Entry(tuple(methods), partial(federated, recipe, overrides, methods))


ENTRIES: dict[str, Entry] = {
    "baselines": Entry(tuple(BASELINES.values()), baselines),
    "neumf": _for_each("NeuMF", NeuMF),
    "wide-deep": _for_each("Wide&Deep", WideAndDeep),
    "bert4rec": _for_each("Bert4Rec", Bert4Rec),
    "neumf++": _for_all("NeuMF++", NeuMF),
    "wide-deep++": _for_all("Wide&Deep++", WideAndDeep),
    "bert4rec++": _for_all("Bert4Rec++", Bert4Rec),
    "conet": _for_all("CoNet", CoNet),
    "ddtcdr": _for_all("DDTCDR", Ddtcdr),
    "mmoe": _for_all("MMoE", Mmoe),
    "cross-stitch": _for_all("Cross-Stitch", CrossStitch),
    "forec": Entry(("FOREC",), forec),
    "m3rec": Entry(("M3Rec",), m3rec),
    "acmr": _acmr("ACMR", partial(acmr, attention="joint")),
    "acmr-apart": _acmr("ACMR apart", acmr),
    "acmr-no-market": _acmr("ACMR apart, no market embedding", partial(acmr, knows_market=False)),
    "acmr-single": Entry(("ACMR apart, single market",), partial(acmr_alone, "ACMR apart, single market")),
    "acmr-left-out": Entry(("ACMR apart, target left out",), partial(acmr_left_out, "ACMR apart, target left out")),
    "baselines-own": _among_own(Entry(tuple(BASELINES.values()), baselines)),
    "neumf-own": _among_own(_for_each("NeuMF", NeuMF)),
    "wide-deep-own": _among_own(_for_each("Wide&Deep", WideAndDeep)),
    "bert4rec-own": _among_own(_for_each("Bert4Rec", Bert4Rec)),
    "federated-acmr": _federation(
        "acmr",
        [*FIXED, "evaluation.methods=[federated]"],
        {"ACMR federated": "federated_without_prior", "ACMR federated with prior": "federated"},
    ),
    "fecosr": _federation(
        "fecosr",
        [*FIXED, "evaluation.methods=[federated, local]"],
        {
            "FeCoSR-style": "federated",
            "FeCoSR-style without prior": "federated_without_prior",
            "FeCoSR-style local baseline": "local",
        },
    ),
    "codes": _federation(
        "codes",
        [*FIXED, "evaluation.methods=[federated, local]"],
        {"codes (FedMM-style)": "federated", "codes (FedMM-style) without prior": "federated_without_prior"},
    ),
    "fedease": _federation(
        "fedease",
        [*FIXED, "evaluation.methods=[fedease]"],
        {"federated EASE": "fedease", "federated EASE without prior": "fedease_without_prior"},
    ),
}
