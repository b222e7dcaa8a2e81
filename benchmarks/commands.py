"""The measurements: each is one command that skips the rows it has, and the files of rows that it alone writes.

The words of a command are those after ``python benchmarks/``. XMARKET and RETAIL stand for the data folders.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
# scripts that take --jobs
SIDE_BY_SIDE = {
    "grid.py",
    "codes.py",
    "compression.py",
    "corrections.py",
    "ranker.py",
    "aggregators.py",
    "code_forms.py",
    "contributions.py",
}


@dataclass(frozen=True)
class DataSet:
    """What a placeholder stands for: a data folder with these markets, and the command that makes one."""

    markets: tuple[str, ...]
    made_by: str

    def missing(self, folder: Path) -> list[str]:
        """The markets that a folder lacks."""
        return [market for market in self.markets if not (folder / market).is_dir()]


DATA = {
    "xmarket": DataSet(("ca", "de", "fr", "in", "jp", "mx", "uk"), "fedrec data import xmarket-5core SRC DIR"),
    "retail": DataSet(
        ("dach", "north", "south", "united-kingdom", "west"),
        "fedrec data import online-retail SRC DIR, with the options that docs/results/retail.md names",
    ),
}


@dataclass(frozen=True)
class Command:
    """A script of this folder with its arguments, and the names of the files of rows that it writes."""

    words: str
    rows: tuple[str, ...]
    root: bool = False  # network namespaces are made by root alone

    def __str__(self) -> str:
        """As it is written in a shell, from the repository's root."""
        return f"{'sudo ' if self.root else ''}python benchmarks/{self.words}"

    @property
    def script(self) -> Path:
        """The file that is run."""
        return FOLDER / self.words.split()[0]

    @property
    def data(self) -> list[str]:
        """Names of the data folders that it reads."""
        return [name for name in DATA if name.upper() in shlex.split(self.words)]

    def arguments(self, folders: Mapping[str, Path], jobs: int | None = None) -> list[str]:
        """The words after the script's name; a folder that is not given stays its placeholder."""
        placeholders = {name.upper(): str(folder) for name, folder in folders.items()}
        side_by_side = ["--jobs", str(jobs)] if jobs is not None and self.script.name in SIDE_BY_SIDE else []
        return [placeholders.get(word, word) for word in shlex.split(self.words)[1:]] + side_by_side


def _grid(table: str, words: str, *kinds: str) -> Command:
    kinds = (*kinds, "_users") if "_intervals" in kinds else kinds  # kept until the intervals are there
    return Command(f"grid.py {words}", tuple(f"{table}{kind}" for kind in ("", "_runs", *kinds)))


def _codes(variant: str, words: str, *kinds: str) -> Command:
    files = tuple(f"codes_{variant}{kind}" for kind in ("", "_runs", "_use", *kinds))
    return Command(f"codes.py XMARKET --variant {variant} {words}", files)


_ALL_ROWS = ("_gains", "_intervals")
_FIVE_SPLITS = "--protocols acmr --seeds 0,1,2,3,4 --lams 0.3"
_FIXED = "--set 'ease.lambdas=[50]' --set 'itemknn.neighbours=[100]' --set 'itemknn.shrink=[10]'"
_ONE_SEED = "--seeds 0 --lams 0.3"

BASELINES = Command("baselines.py XMARKET", ("baselines",))
RANKER = Command("ranker.py XMARKET", ("ranker", "ranker_intervals", "ranker_users"))
RANKER_SCORES = Command(
    "ranker.py XMARKET --study scores", ("ranker_scores", "ranker_scores_intervals", "ranker_scores_users")
)
RANKER_PARTS = Command("ranker.py XMARKET --study parts", ("ranker_parts",))
RANKER_SUMS = Command("ranker.py XMARKET --study sums", ("ranker_sums",))
CODE_FORMS = Command("code_forms.py XMARKET --seeds 0", ("code_forms_xmarket",))
RANKER_PRIVATE = Command(
    "ranker.py XMARKET --study private", ("ranker_private", "ranker_private_intervals", "ranker_private_users")
)
RANKER_AUDIT = Command("ranker_audit.py XMARKET --counts 1,2", ("ranker_audit",))
BOOSTED = Command("boosted.py XMARKET", ("boosted",))
KNOWN_ITEM = Command("known_item.py XMARKET", ("known_item",))
METHODS = _grid(
    "xmarket_methods",
    "XMARKET --variant methods --lams 0.3 "
    "--set 'evaluation.methods=[federated, local, pooled, popularity, itemknn, ease, fedease]'",
    *_ALL_ROWS,
)
_THREE = "'evaluation.methods=[federated, local, pooled]'"
GRU4REC = _grid(
    "xmarket_gru4rec",
    f"XMARKET --variant gru4rec --protocols family --lams 0.3 --set encoder.kind=gru4rec --set {_THREE}",
    *_ALL_ROWS,
)
BERT4REC = _grid(
    "xmarket_bert4rec",
    f"XMARKET --variant bert4rec --protocols family --lams 0.3 --set encoder.kind=bert4rec --set {_THREE}",
    *_ALL_ROWS,
)
NEUMF = _grid(
    "xmarket_neumf",
    f"XMARKET --recipe neumf --variant neumf --protocols family --lams 0.3 --set {_THREE}",
    *_ALL_ROWS,
)
AGGREGATORS = Command("aggregators.py XMARKET", ("aggregators",))
NEURAL_HELPERS = Command("neural_helpers.py XMARKET", ("neural_helpers",))
SPARSE_EASE = Command("catalogue.py forms XMARKET", ("sparse_ease",))
LOSSES = _grid("xmarket", "XMARKET", *_ALL_ROWS)
ACMR = _grid(
    "xmarket_acmr",
    f"XMARKET --variant acmr {_FIVE_SPLITS} "
    f"--set 'evaluation.methods=[federated, local, pooled, popularity, itemknn, ease]' {_FIXED}",
    *_ALL_ROWS,
)
FEDEASE = _grid(
    "xmarket_fedease",
    f"XMARKET --recipe fedease --variant fedease {_FIVE_SPLITS} --set 'fedease.lambdas=[50]' {_FIXED}",
    "_intervals",
)
GLOBAL_TIME = _grid(
    "xmarket_global",
    "XMARKET --variant global --protocols global-time --lams 0.3 --set evaluation.cut_date=2018-10-01 "
    "--set 'evaluation.methods=[federated, local, popularity, itemknn, ease, fedease]'",
    *_ALL_ROWS,
)
RANKER_GLOBAL = _grid(
    "xmarket_ranker_global",
    "XMARKET --recipe ranker --variant ranker_global --protocols global-time --lams 0.3 "
    "--set evaluation.cut_date=2018-10-01 --set scores.kind=none "
    "--set 'evaluation.methods=[federated, local, popularity, ease, fedease]'",
    *_ALL_ROWS,
)
TIES = _grid("xmarket_ties", f"XMARKET --variant ties {_ONE_SEED} --set evaluation.ties=random", "_gains")
UNTIED = _grid(
    "xmarket_untied",
    f"XMARKET --variant untied --protocols family {_ONE_SEED} --set evaluation.holdout=untied",
    "_gains",
)
BASKET = _grid(
    "xmarket_basket",
    f"XMARKET --variant basket --protocols family {_ONE_SEED} --set evaluation.holdout=basket",
    "_gains",
)
SHARED_SEMANTICS = _grid(
    "xmarket_shared_semantics",
    f"XMARKET --variant shared_semantics --protocols family {_ONE_SEED} "
    "--set 'evaluation.methods=[federated, local, local_shared_semantics]'",
    "_gains",
)
UNIFORM = _grid(
    "xmarket_uniform",
    f"XMARKET --variant uniform --protocols family {_ONE_SEED} --set federation.weights=uniform "
    "--set 'evaluation.methods=[federated]'",
)
CODES_RECIPE = _grid(
    "xmarket_codes", f"XMARKET --recipe codes --variant codes --protocols family {_ONE_SEED}", "_gains"
)
RETAIL_ITEM = _grid("retail_item", "RETAIL --data retail --variant item --protocols temporal", *_ALL_ROWS)
RETAIL_BASKET = _grid(
    "retail_basket",
    "RETAIL --data retail --variant basket --protocols temporal --set evaluation.holdout=basket",
    *_ALL_ROWS,
)
RETAIL_RANKER = _grid(
    "retail_ranker",
    "RETAIL --data retail --variant ranker --recipe ranker --protocols temporal --lams 0.3 "
    "--set evaluation.holdout=basket --set 'evaluation.methods=[federated, local, popularity, ease]'",
    *_ALL_ROWS,
)
RETAIL_CODES = _grid(
    "retail_codes",
    "RETAIL --data retail --recipe codes --variant codes --protocols temporal --seeds 0 --lams 0.3",
    "_gains",
)
TABLE3 = Command("table3.py XMARKET", ("table3/rows",))
PACER_FECOSR = Command(
    "pacer.py XMARKET --recipe fecosr --seeds 3 --variants nothing,share,share-align,loss "
    "--set 'ease.lambdas=[100]' --set evaluation.protocol=family",
    ("pacer_fecosr", "pacer_fecosr_users"),
)
PACER_ACMR = Command(
    "pacer.py XMARKET --recipe acmr --seeds 3 --variants nothing,share --set 'data.markets=[in, jp, mx]'",
    ("pacer_acmr", "pacer_acmr_users"),
)
CODES_MAIN = _codes("main", "--seeds 0,1,2 --tasks sampled,ratings", "_intervals")
CODES_ALIGNMENTS = _codes("use", "--seeds 0 --alignments gram,semantic,procrustes,none")
CODES_BACKBONES = _codes(
    "grid",
    "--seeds 0 --markets jp,in,de --alignments gram,semantic,procrustes,none "
    "--backbones widedeep,deepfm,dcnv2,din --tasks sampled,ratings",
)
_SHARES = "--shares 0.01,0.02,0.05,0.1,0.2,0.5,1.0"
NEWCOMERS = Command(f"newcomers.py XMARKET {_SHARES}", ("newcomers",))
NEWCOMERS_RANKER = Command(
    f"newcomers.py XMARKET --recipe ranker {_SHARES} --seeds 0,1,2", ("newcomers_xmarket_ranker",)
)
_SOME = "--shares 0.02,0.1,0.5"
NEWCOMERS_CODES = Command(f"newcomers.py XMARKET --recipe codes --inside {_SOME}", ("newcomers_xmarket_codes",))
WARM_START = Command("warm_start.py XMARKET", ("warm_start",))
CORRECTIONS = Command("corrections.py XMARKET", ("corrections",))
RIDGE = Command("ridge.py XMARKET", ("ridge",))
_EPSILONS = "--epsilon inf,16,8,4,2,1 --seeds 2 --set 'data.markets=[in, jp, de, ca]'"
PRIVACY_FECOSR = Command(f"privacy.py fecosr XMARKET {_EPSILONS} --set federation.rounds=20", ("privacy_fecosr",))
PRIVACY_FEDMM = Command(f"privacy.py fedmm XMARKET {_EPSILONS}", ("privacy_fedmm",))
BLACK_BOX = Command("black_box.py XMARKET", ("black_box", "one_user"))
PRIVATE_STEPS = Command("private_steps.py XMARKET --market uk", ("private_steps",))
SINGLE_MARKET_PAIRS = Command("single_market_pairs.py XMARKET", ("single_market_pairs",))
MASKS = Command("masks.py", ("masks",))
ROUND_OVERHEAD = Command("round_overhead.py XMARKET", ("round_overhead",))
ENGINES = Command(
    "engines.py XMARKET --set federation.rounds=4 --set finetune.epochs=3 --set evaluation.protocol=family",
    ("engines",),
)
COMPRESSION = Command("compression.py XMARKET", ("compression",))
SCALE = Command("scale.py --markets 10,100,1000", ("scale",))
IMPORT_SCALE = Command("import_scale.py", ("import_scale",))
PEERS = Command("peers.py XMARKET", ("peers",))
DEPLOYMENT = Command("deployment.py", ("deployment",), root=True)
CONTAINERS = Command("containers.py", ("containers_demo", "containers_kills"), root=True)
