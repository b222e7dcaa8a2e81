"""Every pointwise model: a forward pass computed by hand (or by torch's own transformer), and a batch learned by heart.

The hand computations read nothing of a model but its parameters.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn

from fedrec.models.pointwise.acmr import Acmr
from fedrec.models.pointwise.attention import BidirectionalBlock, dropout
from fedrec.models.pointwise.bert4rec import Bert4Rec
from fedrec.models.pointwise.conet import CoNet
from fedrec.models.pointwise.cross_stitch import CrossStitch
from fedrec.models.pointwise.ddtcdr import Ddtcdr
from fedrec.models.pointwise.forec import Forec
from fedrec.models.pointwise.interface import PointwiseModel, Request, Sizes
from fedrec.models.pointwise.m3rec import M3Rec
from fedrec.models.pointwise.mmoe import Mmoe
from fedrec.models.pointwise.neumf import NeuMF
from fedrec.models.pointwise.wide_and_deep import WideAndDeep

SIZES = Sizes(users=5, items=9, markets=2, dimension=4, hidden=(6, 4, 3), dropout=0.0, maximum_length=8)
MARKET, USER, HISTORY, ITEM, OTHER = 1, 3, [2, 7, 7], 5, 8
WITHIN = torch.arange(81.0).view(9, 9) / 100 * (1 - torch.eye(9))
ACROSS = nn.functional.normalize(torch.sin(torch.arange(27.0)).view(9, 3), dim=1)
MAKE = {
    "NeuMF": NeuMF,
    "Wide&Deep": WideAndDeep,
    "MMoE": Mmoe,
    "Cross-Stitch": CrossStitch,
    "CoNet": CoNet,
    "DDTCDR": Ddtcdr,
    "FOREC": Forec,
    "M3Rec": lambda sizes: M3Rec(sizes, WITHIN, ACROSS),
    "ACMR": lambda sizes: Acmr(sizes, layers=2, heads=2),
    "ACMR joint": lambda sizes: Acmr(sizes, layers=2, heads=2, attention="joint"),
    "ACMR without market": lambda sizes: Acmr(sizes, layers=2, heads=2, knows_market=False),
    "BERT4Rec": Bert4Rec,
}
Parameters = dict[str, np.ndarray]


def make(name: str) -> PointwiseModel:
    """With parameters large enough that every part of a score shows."""
    torch.manual_seed(7)
    model = MAKE[name](SIZES)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "parametrizations" not in key:
                parameter.add_(0.3 * torch.randn(parameter.shape))
    return model.eval()


def request(items: list[int], padding: int = 2) -> Request:
    """Two users, the second with a shorter history; padded places hold an item that must not matter."""
    histories = torch.tensor([HISTORY + [4] * padding, [1] + [4] * (padding + 2)])
    return Request(MARKET, torch.tensor([USER, 0]), histories, torch.tensor([3, 1]), torch.tensor([items, items[::-1]]))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def linear(p: Parameters, name: str, x: np.ndarray) -> np.ndarray:
    return p[f"{name}.weight"] @ x + p[f"{name}.bias"]


def chain(p: Parameters, name: str, x: np.ndarray, steps: list[int], last: int | None = None) -> np.ndarray:
    for step in steps:
        x = relu(linear(p, f"{name}.{step}", x))
    return x if last is None else linear(p, f"{name}.{last}", x)


def pair(p: Parameters, items: str = "pair.items.weight") -> np.ndarray:
    return np.concatenate([p["pair.users.weight"][USER], p[items][ITEM]])


def neumf(p: Parameters) -> np.ndarray:
    product = p["factor_users.weight"][USER] * p["factor_items.weight"][ITEM]
    return np.concatenate([chain(p, "perceptron", pair(p), [0, 2, 4]), product])


def by_neumf(p: Parameters) -> np.ndarray:
    return linear(p, "output", neumf(p))


def by_wide_and_deep(p: Parameters) -> np.ndarray:
    wide = p["wide_users.weight"][USER] + p["wide_items.weight"][ITEM]
    return wide + chain(p, "deep", pair(p), [0, 2, 4], 6)


def by_mmoe(p: Parameters) -> np.ndarray:
    x = pair(p)
    gate = np.exp(linear(p, f"gates.{MARKET}", x))
    mixed = sum(share * chain(p, f"experts.{e}", x, [0]) for e, share in enumerate(gate / gate.sum()))
    return chain(p, f"towers.{MARKET}", np.asarray(mixed), [0, 2], 4)


def by_cross_stitch(p: Parameters) -> np.ndarray:
    own, common = pair(p), pair(p, "common_items.weight")
    for depth in range(3):
        own = relu(linear(p, f"own.{MARKET}.layers.{depth}", own))
        common = relu(linear(p, f"common.layers.{depth}", common))
        (a, b), (c, d) = p["stitches"][MARKET, depth]
        own, common = a * own + b * common, c * own + d * common
    return linear(p, f"own.{MARKET}.output", own)


def by_conet(p: Parameters) -> np.ndarray:
    own, common = pair(p), pair(p, "common_items.weight")
    for depth in range(3):
        cross = p[f"crosses.{depth}"][MARKET]
        own, common = (
            relu(linear(p, f"own.{MARKET}.layers.{depth}", own) + cross @ common),
            relu(linear(p, f"common.layers.{depth}", common) + cross @ own),
        )
    return linear(p, f"own.{MARKET}.output", own)


def by_ddtcdr(p: Parameters) -> np.ndarray:
    user, there = p["pair.users.weight"][USER], p[f"maps.{MARKET}.weight"]
    answers = []
    for name, seen, items in (
        (f"own.{MARKET}", user, "pair.items.weight"),
        ("common", there @ user, "common_items.weight"),
    ):
        x = np.concatenate([seen, p[items][ITEM]])
        for depth in range(3):
            x = relu(linear(p, f"{name}.layers.{depth}", x))
        answers.append(linear(p, f"{name}.output", x))
    return 0.97 * answers[0] + 0.03 * answers[1]


def by_m3rec(p: Parameters) -> np.ndarray:
    score = p["users.weight"][USER] @ p["items.weight"][ITEM] + p["bias.weight"][ITEM]
    score = score + p["within_weight"] * sum(WITHIN[item, ITEM].item() for item in HISTORY)
    profile = np.mean([ACROSS[item].numpy() for item in HISTORY], axis=0)
    return score + (p["across_map.weight"] @ profile) @ ACROSS[ITEM].numpy()


def parameters(model: nn.Module) -> Parameters:
    found = {name: value.numpy().astype(np.float64) for name, value in model.state_dict().items()}
    for name, module in model.named_modules():
        if hasattr(module, "parametrizations"):  # what the orthogonal map is, not how torch stores it
            found[f"{name}.weight"] = module.weight.detach().numpy().astype(np.float64)
    return found


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("NeuMF", by_neumf),
        ("FOREC", by_neumf),
        ("Wide&Deep", by_wide_and_deep),
        ("MMoE", by_mmoe),
        ("Cross-Stitch", by_cross_stitch),
        ("CoNet", by_conet),
        ("DDTCDR", by_ddtcdr),
        ("M3Rec", by_m3rec),
    ],
)
def test_a_score_is_what_the_formula_says(name: str, by_hand: object) -> None:
    model = make(name)
    with torch.no_grad():
        scores = model(request([ITEM, OTHER]))
    assert scores.shape == (2, 2)
    assert scores[0, 0].item() == pytest.approx(float(np.squeeze(by_hand(parameters(model)))), rel=1e-4, abs=1e-5)


def test_a_forked_forec_answers_by_its_head_and_trains_the_last_layers_alone() -> None:
    model = make("FOREC")
    model.fork()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {f"{module}.{kind}" for module in ("perceptron.2", "perceptron.4", "head.0", "head.2", "head.4")
                       for kind in ("weight", "bias")}  # fmt: skip
    p = parameters(model)
    with torch.no_grad():
        score = model(request([ITEM]))[0, 0].item()
    assert score == pytest.approx(chain(p, "head", neumf(p), [0, 2], 4).item(), rel=1e-4, abs=1e-5)


def test_m3rec_does_not_count_a_candidate_as_its_own_evidence() -> None:
    """Item 7 stands twice in the history: what it is scored by is item 2 alone."""
    model = make("M3Rec")
    p = parameters(model)
    with torch.no_grad():
        score = model(request([7]))[0, 0].item()
    expected = p["users.weight"][USER] @ p["items.weight"][7] + p["bias.weight"][7].item()
    expected += p["within_weight"] * WITHIN[2, 7].item()
    expected += (p["across_map.weight"] @ ACROSS[2].numpy()) @ ACROSS[7].numpy()
    assert score == pytest.approx(float(expected), rel=1e-4, abs=1e-5)


def torchs_own(blocks: nn.ModuleList, dimension: int, heads: int) -> nn.TransformerEncoder:
    """torch's transformer with the parameters of our blocks."""
    layer = nn.TransformerEncoderLayer(dimension, heads, 4 * dimension, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, len(blocks), enable_nested_tensor=False).eval()
    for ours, theirs in zip(blocks, encoder.layers, strict=True):
        theirs.load_state_dict(
            {
                "self_attn.in_proj_weight": ours.projection.weight,
                "self_attn.in_proj_bias": ours.projection.bias,
                "self_attn.out_proj.weight": ours.output.weight,
                "self_attn.out_proj.bias": ours.output.bias,
                "linear1.weight": ours.expand.weight,
                "linear1.bias": ours.expand.bias,
                "linear2.weight": ours.contract.weight,
                "linear2.bias": ours.contract.bias,
                "norm1.weight": ours.attention_norm.weight,
                "norm1.bias": ours.attention_norm.bias,
                "norm2.weight": ours.feed_forward_norm.weight,
                "norm2.bias": ours.feed_forward_norm.bias,
            }
        )
    return encoder


@torch.no_grad()
def test_acmr_as_published_is_torchs_transformer_over_history_and_candidate() -> None:
    model = make("ACMR joint")
    assert isinstance(model, Acmr)
    tokens = torch.tensor([[*HISTORY, ITEM]])
    x = model.norm(model.items(tokens) + model.markets.weight[MARKET])
    states = torchs_own(model.blocks, 4, 2)(x)[0]
    expected = model.output(torch.cat([states[:3].mean(dim=0), states[3]]))
    torch.testing.assert_close(model(request([ITEM, OTHER]))[0, 0], expected[0], rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_acmr_apart_lets_a_candidate_read_the_history_and_itself() -> None:
    """The history's states are torch's own of the history alone; the candidate's are computed by hand."""
    model = make("ACMR")
    assert isinstance(model, Acmr)
    embed = lambda items: model.norm(model.items(torch.tensor(items)) + model.markets.weight[MARKET])  # noqa: E731
    encoder = torchs_own(model.blocks, 4, 2)
    history, candidate = embed(HISTORY), embed([ITEM])[0].double().numpy()
    for block, layer in zip(model.blocks, encoder.layers, strict=True):
        p = {name: value.double().numpy() for name, value in block.state_dict().items()}
        candidate = onlooker(p, history.double().numpy(), candidate)
        history = layer(history[None])[0]
    user = history.mean(dim=0).double().numpy()
    expected = linear(parameters(model), "output", np.concatenate([user, candidate]))
    assert model(request([ITEM, OTHER]))[0, 0].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)
    states = model.user_states(request([ITEM]))
    np.testing.assert_allclose(states[0].numpy(), user, rtol=1e-4, atol=1e-5)


def onlooker(p: Parameters, history: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """One post-norm block, two heads of width two, for a place that reads the history and itself."""
    places = np.concatenate([history, candidate[None]])
    query = (p["projection.weight"] @ candidate + p["projection.bias"])[:4]
    keys = places @ p["projection.weight"][4:8].T + p["projection.bias"][4:8]
    values = places @ p["projection.weight"][8:].T + p["projection.bias"][8:]
    mixed = []
    for head in (slice(0, 2), slice(2, 4)):
        weights = np.exp(keys[:, head] @ query[head] / math.sqrt(2))
        mixed.append(weights / weights.sum() @ values[:, head])
    x = norm(p, "attention_norm", candidate + linear(p, "output", np.concatenate(mixed)))
    return norm(p, "feed_forward_norm", x + linear(p, "contract", relu(linear(p, "expand", x))))


def norm(p: Parameters, name: str, x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


@torch.no_grad()
def test_bert4rec_is_torchs_transformer_with_a_mask_after_the_history() -> None:
    model = make("BERT4Rec")
    assert isinstance(model, Bert4Rec)
    tokens = torch.tensor([[*HISTORY, SIZES.items]])
    x = model.norm(model.items(tokens) + model.positions.weight[:4])
    state = torchs_own(model.blocks, 4, 2)(x)[0, -1]
    state = model.output_norm(nn.functional.gelu(model.output(state)))
    expected = state @ model.items.weight[ITEM] + model.bias[ITEM]
    torch.testing.assert_close(model(request([ITEM, OTHER]))[0, 0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MAKE)
@torch.no_grad()
def test_a_score_depends_on_its_user_and_its_item_alone(name: str) -> None:
    """Not on the padding, not on who else is in the batch, not on the other candidates."""
    model = make(name)
    scores = model(request([ITEM, OTHER, 0]))
    torch.testing.assert_close(model(request([ITEM, OTHER, 0], padding=0)), scores, rtol=1e-5, atol=1e-5)
    alone = Request(MARKET, torch.tensor([USER]), torch.tensor([HISTORY]), torch.tensor([3]), torch.tensor([[OTHER]]))
    torch.testing.assert_close(model(alone)[0, 0], scores[0, 1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["ACMR", "ACMR joint", "MMoE", "Cross-Stitch", "CoNet", "DDTCDR"])
@torch.no_grad()
def test_models_that_know_markets_answer_differently_in_another(name: str) -> None:
    model, asked = make(name), request([ITEM, OTHER])
    assert not torch.allclose(model(asked), model(asked._replace(market=0)))


@torch.no_grad()
def test_without_its_embedding_acmr_does_not_know_the_market() -> None:
    model, asked = make("ACMR without market"), request([ITEM, OTHER])
    torch.testing.assert_close(model(asked), model(asked._replace(market=0)), rtol=0, atol=0)


@pytest.mark.parametrize("name", MAKE)
def test_a_batch_can_be_learned_by_heart(name: str) -> None:
    """Three users, each with an own taste; after some steps every positive stands above every negative."""
    torch.manual_seed(0)
    sizes = Sizes(users=3, items=9, markets=2, dimension=8, hidden=(16, 8, 8), dropout=0.0, maximum_length=4)
    model = MAKE[name](sizes)
    items = torch.tensor([[3, 6, 7, 8], [4, 6, 7, 8], [5, 6, 7, 8]])
    histories = torch.tensor([[0, 1], [1, 2], [2, 0]])
    if name == "BERT4Rec":  # learns histories, so what is wanted must stand in one
        histories = torch.tensor([[0, 3], [1, 4], [2, 5]])
    asked = Request(1, torch.arange(3), histories, torch.full((3,), 2), items)
    labels = torch.tensor([[1.0, 0, 0, 0]] * 3)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(200):
        optimiser.zero_grad()
        model.loss(asked, labels, torch.ones_like(labels, dtype=torch.bool)).backward()
        optimiser.step()
    if name == "BERT4Rec":
        asked = asked._replace(histories=histories[:, :1], lengths=torch.ones(3, dtype=torch.int64))
    with torch.no_grad():
        scores = model.eval()(asked)
    assert (scores[:, :1] > scores[:, 1:] + 1).all()


def test_places_that_do_not_count_do_not_enter_the_loss() -> None:
    model, asked = make("NeuMF"), request([ITEM, OTHER])
    labels, counted = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[True, True], [True, False]])
    with torch.no_grad():
        logits = model(asked).double()
        expected = [math.log1p(math.exp(-logits[0, 0])), math.log1p(math.exp(logits[0, 1])),
                    math.log1p(math.exp(-logits[1, 0]))]  # fmt: skip
        assert model.loss(asked, labels, counted).item() == pytest.approx(sum(expected) / 3, rel=1e-5)


@torch.no_grad()
def test_nobody_reads_an_onlooker() -> None:
    torch.manual_seed(1)
    block = BidirectionalBlock(8, 2, 0.0).eval()
    x, valid = torch.randn(2, 7, 8), torch.ones(2, 4, dtype=torch.bool)
    torch.testing.assert_close(block(x, valid)[:, :4], block(x[:, :4], valid), rtol=1e-5, atol=1e-6)


def test_dropout_zeroes_its_share_and_keeps_the_mean() -> None:
    """Of 2^18 ones, 77/256 go (five standard deviations are .0045); what stays makes up for them; a seed repeats it."""
    ones = torch.ones(2**18)
    torch.manual_seed(3)
    first = dropout(ones, 0.3, training=True)
    assert first.unique().tolist() == [0.0, pytest.approx(256 / 179)]
    assert (first == 0).double().mean().item() == pytest.approx(77 / 256, abs=0.0045)
    assert first.mean().item() == pytest.approx(1, abs=0.0065)
    torch.manual_seed(3)
    assert torch.equal(dropout(ones, 0.3, training=True), first)
    assert not torch.equal(dropout(ones, 0.3, training=True), first)
    assert dropout(ones, 0.3, training=False) is ones
    assert dropout(ones, 0.0, training=True) is ones
