"""What each action may send. Anything else is refused inside the market, before it is sent.

Arrays of the training rounds come from the model's parameter groups; everything else is written out here, so that this
page is the complete answer to "what can leave a market?".
"""

import re
from dataclasses import dataclass

from fedrec.exchange.groups import ParameterGroups
from fedrec.exchange.lookup_table import TABLE
from fedrec.exchange.payload import OUTSIDE, PUBLIC, Payload, Provenance
from fedrec.exchange.statistics import PAIR_KINDS

HELLO = "query.hello"  # who is there: sizes of the market, whether items have text
VOCABULARY = "query.vocabulary"  # item keys alone, to rank the union of all catalogues or for a table with their rows
CATALOGUE = "query.catalogue"  # item keys and counts of item pairs, for shared semantics
GRAM = "query.gram"  # item keys and counts of all item pairs, for federated EASE
STATISTICS = "query.statistics"  # item keys and counts of users: of pairs by what lies between, of items by month
MASK_KEYS = "query.mask_keys"  # fresh public keys for one masked sum, signed by the market's node key
MASK_SHARES = "query.mask_shares"  # shares of the secrets behind its masks, encrypted for the other markets
UNMASK = "query.unmask"  # the shares that one sum needs: of own masks of those who came, of keys of those who did not
INSTALL = "query.install"  # receives what the server made of all markets' answers; sends nothing
PRETRAIN = "train.pretrain"  # one federated round
REFIT = "train.refit"  # one federated round that learns from validation users too
VALIDATE = "evaluate.validate"  # the shared model on the market's validation users
COLLABORATIVE = "train.collaborative"  # vectors of items and users, from this market alone; they stay in the market
CODEBOOK = "train.codebook"  # one round: counts and sums of the common codes, and the shared encoder
VALIDATE_CODEBOOK = "evaluate.codebook"  # how much of the market's items the common codes explain
CODES = "train.codes"  # the market's own codes; they stay in the market
CTR = "train.ctr"  # click-through models on the codes; they stay in the market
FINETUNE = "train.finetune"  # stage two; the result stays in the market
COUNTS = frozenset({CATALOGUE, GRAM, STATISTICS})  # actions whose answers are counts of users, weighed by nothing
ROUNDS = frozenset({PRETRAIN, REFIT, CODEBOOK})  # actions of which one answer is one round
LOCAL_BASELINES = {  # models that average with nobody, by method; they stay in the market
    "local": "train.local",
    "local_shared_semantics": "train.local_shared",
    "local_shared_statistics": "train.local_statistics",
    "nocodes": "train.nocodes",
    "randomcodes": "train.randomcodes",
}
REPORT = "evaluate.report"  # means over test users, per method

_NOTHING = r"(?!)"
_METRIC = r"[a-z0-9][a-z0-9_-]*@\d{1,4}|auc|gauc|logloss|ece"  # before the @ a metric that is installed: see reply
_METHOD = (
    r"(federated|local|local_shared_semantics|local_shared_statistics|pooled|fedease|nocodes|randomcodes)(_without_prior)?"
    r"|prior|popularity|itemknn|ease"
)
_CHOSEN = r"(ease|itemknn|fedease)\.(lam|popularity_weight|neighbours|shrink)"
_TRAINED = r"loss|seconds|epochs|validation"
_COUNTS = rf"({'|'.join(PAIR_KINDS)})\.(first|second|count)|monthly\.(item|month|count)"


@dataclass(frozen=True)
class Declaration:
    """Patterns of names that may leave. ``shared`` lets the shared parameter group through.

    ``public`` names the scalars and texts that tell nothing of any user (a shop's size and offer are taken to be public
    knowledge); all others stand outside epsilon. ``longest``: characters of a text; lists of keys have bounds of their
    own (:mod:`fedrec.exchange.keys`).
    """

    arrays: str = _NOTHING
    scalars: str = _NOTHING
    texts: str = _NOTHING
    shared: bool = False
    public: str = _NOTHING
    longest: int = 100
    exact: bool = False  # texts are codes for programs, taken as they are

    def undeclared(self, payload: Payload, groups: ParameterGroups) -> list[str]:
        """What of the payload may not leave, in words."""
        refused = [f"array {name!r}" for name in payload.sent if not self.allows_array(name, groups)]
        return refused + self.undeclared_words(payload)

    def allows_array(self, name: str, groups: ParameterGroups) -> bool:
        """Whether an array of that name may leave: a shared parameter, or one that is written out."""
        shared = groups.shared if self.shared else ()
        return name.startswith(shared) or re.fullmatch(self.arrays, name) is not None

    def provenance_of(self, word: str) -> Provenance:
        """Of a scalar or text."""
        return PUBLIC if re.fullmatch(self.public, word) else OUTSIDE

    def undeclared_words(self, payload: Payload) -> list[str]:
        """The scalars and texts of the payload that may not leave."""
        refused = [f"scalar {name!r}" for name in payload.scalars if not re.fullmatch(self.scalars, name)]
        return refused + [f"text {name!r}" for name in payload.texts if not re.fullmatch(self.texts, name)]


DECLARATIONS = {
    HELLO: Declaration(
        scalars="users|items|interactions|has_text|has_families|min_users",
        texts="market|device",
        public="users|items|has_text|has_families|min_users|market|device",
    ),
    VOCABULARY: Declaration(texts="items|learned", public="items|learned"),
    CATALOGUE: Declaration(arrays="first|second|count|pairs", texts="items", public="items"),
    GRAM: Declaration(arrays="first|second|count|pairs", texts="items", public="items"),
    STATISTICS: Declaration(arrays=rf"{_COUNTS}|{TABLE}|pairs", texts="items", public="items"),
    MASK_KEYS: Declaration(
        texts="encryption|masking|commitment|weight|sums|signature",
        public="encryption|masking|commitment|weight|sums|signature",
        longest=4096,
        exact=True,
    ),
    MASK_SHARES: Declaration(texts=r"for\..+", public=r"for\..+", longest=4096, exact=True),
    UNMASK: Declaration(texts=r"of\..+", public=r"of\..+", longest=4096, exact=True),
    INSTALL: Declaration(),
    PRETRAIN: Declaration(shared=True, scalars=f"weight|perplexity|transfer_gap|{_TRAINED}", public="weight"),
    REFIT: Declaration(shared=True, scalars="weight|loss|seconds", public="weight"),
    VALIDATE: Declaration(scalars="validation"),
    COLLABORATIVE: Declaration(scalars="loss|seconds"),
    CODEBOOK: Declaration(
        shared=True, arrays=r"statistics\.(count|sum)\.\d+", scalars="weight|validation|loss|seconds", public="weight"
    ),
    VALIDATE_CODEBOOK: Declaration(scalars="validation"),
    CODES: Declaration(scalars=r"(federated|local)\.(explained|(perplexity|dead)\.\d+)|seconds"),
    CTR: Declaration(scalars=rf"({_METHOD})\.(epochs|validation)|seconds"),
    FINETUNE: Declaration(scalars=_TRAINED, arrays="figures"),
    **{action: Declaration(scalars=_TRAINED) for action in LOCAL_BASELINES.values()},
    REPORT: Declaration(
        scalars=rf"users|catalogue|outside|({_METHOD})\.({_METRIC})|{_CHOSEN}"
        rf"|difference\.({_METHOD})\.({_METHOD})\.({_METRIC})\.(mean|low|high)"
    ),
}
