"""Codes of one market: inputs, rounds, own levels and tables, against loops and SciPy."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.linalg import orthogonal_procrustes

from fedrec.recipe import CodesSettings
from fedrec.semantics.base import ItemVectors
from fedrec.training.codes import CodeInputs, CodeTable, CodeTrainer, MarketCodes, rotation, train_codes_alone, turned
from fedrec.training.collaborative import CollaborativeVectors

ALIGNMENTS = ["gram", "layered", "semantic", "procrustes", "none"]
EVERY = pytest.mark.parametrize("alignment", ALIGNMENTS)
LAYERED = {"gram", "layered"}
N, C, O = 30, 6, 5  # noqa: E741  # items, and widths of their inputs
Bytes = dict[str, bytes]


def gaussian(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def some(count: int = N, seed: int = 0) -> CodeInputs:
    """Things of which both vectors are known, one of them, or none; an unknown vector is zero or says nothing."""
    known = np.array(list(itertools.islice(itertools.cycle([(1, 1), (1, 1), (0, 1), (1, 0), (1, 1), (0, 0)]), count)))
    common, own = gaussian(seed, count, C), gaussian(seed + 1, count, O)
    return CodeInputs(common.astype(np.float32), (own * known[:, 1:]).astype(np.float32), known.astype(bool))


def all_known(common: np.ndarray, own: np.ndarray) -> CodeInputs:
    return CodeInputs(common.astype(np.float32), own.astype(np.float32), np.ones((len(common), 2), bool))


def trainer_of(
    alignment: str, inputs: CodeInputs | None = None, seed: int = 0, market: str = "jp", **changes: object
) -> CodeTrainer:
    """With common codebooks as after some rounds."""
    values: dict[str, Any] = {
        "global_levels": [4, 3],
        "local_levels": [3, 2],
        "dimension": 4,
        "hidden": 8,
        "rounds": 3,
        "refine": 1,
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 0.01,
    }
    settings_ = CodesSettings.model_validate({**values, **changes})
    trainer = CodeTrainer(settings_, alignment, inputs or some(), seed, market)  # type: ignore[arg-type]
    trainer.install(codebooks(settings_))
    return trainer


def codebooks(settings_: CodesSettings) -> list[np.ndarray]:
    return [
        gaussian(30 + level, size, settings_.dimension).astype(np.float32) * 0.3
        for level, size in enumerate(settings_.global_levels)
    ]


def parameters(trainer: CodeTrainer) -> Bytes:
    return {name: value.numpy().tobytes() for name, value in trainer.model.state_dict().items()}


def common_codebooks(trainer: CodeTrainer) -> list[bytes]:
    return [codebook.detach().numpy().tobytes() for codebook in trainer.model.codebook]


def changed(before: Bytes, after: Bytes) -> set[str]:
    """First names of what is not the same any more."""
    assert set(before) == set(after)
    return {name.split(".")[0] for name in before if before[name] != after[name]}


def first_and_second(trainer: CodeTrainer, inputs: CodeInputs) -> tuple[np.ndarray, np.ndarray]:
    """What the common levels are given; what the own levels are given before the common codes are taken off."""
    model, common = trainer.model, torch.from_numpy(inputs.common)
    own = torch.from_numpy(inputs.own)
    if trainer.alignment in LAYERED:
        own = own - torch.tensor(np.array(expected(trainer, inputs)), dtype=torch.float32)
    with torch.no_grad():
        first = model.own_encoder(own) if trainer.alignment == "none" else model.encoder(common)
        second = model.own_encoder(own) if trainer.alignment in LAYERED else first
    return first.double().numpy(), second.double().numpy()


def expected(trainer: CodeTrainer, inputs: CodeInputs) -> list[np.ndarray]:
    """What the common codes of ``inputs`` let one expect of their own vectors, from what the market was trained on: the
    mean of the items of the same first code, then of what that leaves, of the same second code."""
    shared, _ = in_double(trainer)

    def codes_of(which: CodeInputs) -> list[list[int]]:
        with torch.no_grad():
            encoded = trainer.model.encoder(torch.from_numpy(which.common)).double().numpy()
        return [greedy(vector, shared)[0] for vector in encoded]

    mine, asked = codes_of(trainer.inputs), codes_of(inputs)
    left = {row: trainer.inputs.own[row].astype(float) for row in range(N) if trainer.inputs.known[row].all()}
    found = [np.zeros(O) for _ in asked]
    for level in range(len(shared)):
        means = {
            code: np.mean([left[row] for row in left if mine[row][level] == code], axis=0)
            for code in {mine[row][level] for row in left}
        }
        left = {row: vector - means[mine[row][level]] for row, vector in left.items()}
        found = [
            sum_ + means.get(code[level], 0) * known
            for sum_, code, known in zip(found, asked, inputs.known[:, 0], strict=True)
        ]
    return found


def known_levels(alignment: str, known: np.ndarray) -> tuple[bool, bool]:
    """Whether the common levels, and the own ones, say something of a thing."""
    common, own = map(bool, known)
    return {
        "none": (own, own),
        "gram": (common, own),
        "layered": (common, own),
        "semantic": (common, common),
        "procrustes": (common, common),
    }[alignment]


def greedy(vector: np.ndarray, levels: list[np.ndarray]) -> tuple[list[int], list[np.ndarray], np.ndarray]:
    """Codes, what each level was given, and what is left."""
    codes, given_ = [], []
    for level in levels:
        codes.append(min(range(len(level)), key=lambda k: float(((vector - level[k]) ** 2).sum())))
        given_.append(vector)
        vector = vector - level[codes[-1]]
    return codes, given_, vector


def in_double(trainer: CodeTrainer) -> tuple[list[np.ndarray], list[np.ndarray]]:
    model = trainer.model
    return (
        [codebook.double().numpy() for codebook in model.codebook],
        [codebook.detach().double().numpy() for codebook in model.own_codebook],
    )


# turning vectors


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(8, 30))
def test_a_square_rotation_is_scipys(seed, width, count):
    generator = np.random.default_rng(seed)
    own, anchor = generator.standard_normal((2, count, width))
    found = rotation(own.astype(np.float32), anchor.astype(np.float32))
    theirs, _ = orthogonal_procrustes(own.astype(np.float32).astype(float), anchor.astype(np.float32).astype(float))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("own", "common"), [(4, 4), (3, 6), (2, 3)])
def test_a_known_rotation_is_found(own, common):
    """Also into a wider space, where its rows are orthonormal."""
    turn = np.linalg.qr(gaussian(1, common, common))[0][:own]
    vectors = gaussian(2, 20, own)
    np.testing.assert_allclose(rotation(vectors, vectors @ turn), turn, rtol=0, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(4, 7))
def test_into_a_wider_space_rows_are_orthonormal_and_no_other_map_comes_nearer(seed, own, common):
    """Thirty random maps with orthonormal rows, and thirty that lie beside the one found."""
    generator = np.random.default_rng(seed)
    vectors, anchor = generator.standard_normal((12, own)), generator.standard_normal((12, common))
    found = rotation(vectors, anchor).astype(np.float64)
    np.testing.assert_allclose(found @ found.T, np.eye(own), rtol=0, atol=1e-5)
    best = np.linalg.norm(vectors @ found - anchor)
    for trial in range(60):
        noise = generator.standard_normal((common, own))
        other = np.linalg.qr(noise if trial % 2 else found.T + 0.1 * noise)[0].T
        if not trial % 2:  # QR may turn a row round
            other *= np.sign((other * found).sum(axis=1))[:, None]
        assert np.linalg.norm(vectors @ other - anchor) >= best - 1e-5


def test_into_a_narrower_space_columns_are_orthonormal():
    found = rotation(gaussian(1, 20, 5), gaussian(2, 20, 3)).astype(np.float64)
    assert found.shape == (5, 3)
    np.testing.assert_allclose(found.T @ found, np.eye(3), rtol=0, atol=1e-5)


def test_what_counts_nothing_turns_nothing():
    """A row of weight zero may hold anything; a whole weight counts like a row that comes as often."""
    own, anchor = gaussian(1, 12, 4), gaussian(2, 12, 4)
    weights = np.array([1, 2, 3, 0, 1, 1, 2, 1, 0, 1, 1, 3])
    found = turned(own, anchor, weights)
    spoilt = anchor.copy()
    spoilt[weights == 0] = 1e3
    np.testing.assert_array_equal(turned(own, spoilt, weights), found)
    rows = np.repeat(np.arange(12), weights)
    np.testing.assert_allclose(turned(own[rows], anchor[rows], np.ones(len(rows))), found[rows], atol=1e-4)


def test_moved_and_turned_vectors_come_back():
    anchor = gaussian(1, 20, 4)
    turn = np.linalg.qr(gaussian(2, 4, 4))[0]
    own = ((anchor - 3) @ turn).astype(np.float32)
    np.testing.assert_allclose(turned(own, anchor, np.ones(20)), anchor, atol=1e-4)


# inputs

MET = np.array([5, 1, 0, 9, 2, 7, 4, 3, 1])


def vectors_of(users: int = 7, items: int = 9, width: int = 4) -> CollaborativeVectors:
    known_users, known_items = np.arange(users) % 3 != 1, np.arange(items) % 4 != 2
    return CollaborativeVectors(
        (gaussian(1, users, width) * 3 * known_users[:, None]).astype(np.float32),
        (gaussian(2, items, width) * 0.1 * known_items[:, None]).astype(np.float32),
        known_users,
        known_items,
    )


def semantics_of(items: int = 9, width: int = 4) -> ItemVectors:
    """Every vector is of unit length, also where it only stands for a key."""
    vectors = gaussian(3, items, width)
    return ItemVectors((vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float32), np.arange(items) != 4)


def scale(vectors: np.ndarray, known: np.ndarray) -> float:
    """Root mean square of all numbers of known rows."""
    squares = [float(number) ** 2 for row, told in zip(vectors, known, strict=True) if told for number in row]
    return (sum(squares) / len(squares)) ** 0.5


@EVERY
def test_inputs_of_items_by_loops(alignment):
    """Both have numbers of about one; turned onto the anchor, own vectors are what all markets share."""
    semantics, vectors = semantics_of(), vectors_of()
    found = CodeInputs.of_items(semantics, vectors, alignment, MET)
    own = vectors.items / scale(vectors.items, vectors.known_items)
    common = semantics.vectors * 2.0  # square root of the width: of four numbers each is then about one
    known = [[bool(a), bool(b)] for a, b in zip(semantics.known, vectors.known_items, strict=True)]
    if alignment == "procrustes":
        both = [row for row in range(9) if known[row] == [True, True]]
        total = sum(MET[row] ** 0.5 for row in both)
        centres = [sum(part[row] * MET[row] ** 0.5 for row in both) / total for part in (own, common)]
        repeated = [
            [(part[row] - centre) * MET[row] ** 0.25 for row in both]
            for part, centre in zip((own, common), centres, strict=True)
        ]
        turn, _ = orthogonal_procrustes(*map(np.array, repeated))
        common = (own - centres[0]) @ turn + centres[1]
        known = [[bool(b), bool(b)] for b in vectors.known_items]
    np.testing.assert_allclose(found.common, common, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.own, own, rtol=1e-5, atol=1e-7)
    assert found.known.tolist() == known
    assert found.common.dtype == found.own.dtype == np.float32
    assert np.sqrt(np.mean(found.own[vectors.known_items] ** 2)) == pytest.approx(1, rel=1e-5)


def test_inputs_of_nothing_known_stay_finite():
    vectors = CollaborativeVectors(np.zeros((2, 4), np.float32), np.zeros((3, 4), np.float32), *map(np.zeros, (2, 3)))
    vectors = CollaborativeVectors.read(vectors.arrays())
    for alignment in ("layered", "procrustes"):
        semantics = ItemVectors(semantics_of(3).vectors, np.zeros(3, bool))
        found = CodeInputs.of_items(semantics, vectors, alignment, np.zeros(3, np.int64))
        assert np.isfinite(found.common).all()
        assert np.isfinite(found.own).all()
        assert not found.known.any()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(0, 8)), min_size=7, max_size=7))
def test_inputs_of_users_by_loops(histories):
    """The mean of what is known of the items they met; who met none such is not known. Items 2 and 6 have no own
    vector and item 4 no common one; users 1 and 4 have none of their own."""
    vectors = vectors_of()
    items = CodeInputs.of_items(semantics_of(), vectors, "layered", MET)
    matrix = np.zeros((7, 9))
    for user, history in enumerate(histories):
        matrix[user, sorted(history)] = 1
    found = CodeInputs.of_users(items, vectors, sparse.csr_matrix(matrix))
    size = scale(vectors.users, vectors.known_users)
    for user, history in enumerate(histories):
        told = [items.common[item] for item in sorted(history) if items.known[item, 0]]
        mean = np.mean(told, axis=0) if told else np.zeros(4)
        np.testing.assert_allclose(found.common[user], mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.own[user], vectors.users[user] / size, rtol=1e-5, atol=1e-7)
        assert found.known[user].tolist() == [bool(told), bool(vectors.known_users[user])]
    assert found.common.dtype == found.own.dtype == np.float32


# what a round tells and trains


@EVERY
def test_statistics_by_loops(alignment):
    """Items per code and sums of what each level was given; of known items only."""
    trainer = trainer_of(alignment)
    first, _ = first_and_second(trainer, trainer.inputs)
    shared, _ = in_double(trainer)
    count = [np.zeros(len(level), int) for level in shared]
    total = [np.zeros(level.shape) for level in shared]
    for row in range(N):
        if not known_levels(alignment, trainer.inputs.known[row])[0]:
            continue
        codes, given_, _ = greedy(first[row], shared)
        for level, (code, vector) in enumerate(zip(codes, given_, strict=True)):
            count[level][code] += 1
            total[level][code] += vector
    found = trainer.statistics()
    assert len(found) == 2
    for level, statistics in enumerate(found):
        assert statistics.count.tolist() == count[level].tolist()
        np.testing.assert_allclose(statistics.sum, total[level], rtol=1e-4, atol=1e-5)
        assert 0 < statistics.count.sum() < N


@EVERY
@pytest.mark.parametrize("number", [1, 2])
def test_a_round_trains_encoders_and_no_codebook(alignment, number):
    """The shared encoder and decoder; private encoders where there are no others (``none``) or where they draw the
    codes towards them (``semantic``). Codebooks stay, the market's own and those that were installed."""
    trainer = trainer_of(alignment)
    before, levels = parameters(trainer), common_codebooks(trainer)
    loss = trainer.train_round(number)
    assert np.isfinite(loss)
    assert (
        changed(before, parameters(trainer))
        == {
            "gram": {"encoder", "decoder"},
            "layered": {"encoder", "decoder"},
            "procrustes": {"encoder", "decoder"},
            "semantic": {"encoder", "decoder", "own_encoder"},
            "none": {"own_encoder", "own_decoder"},
        }[alignment]
    )
    assert common_codebooks(trainer) == levels


@pytest.mark.parametrize("alignment", ["layered", "none"])
def test_one_item_more_than_a_batch_holds_is_no_catastrophe(alignment):
    """Nine items in batches of eight leave one alone. Its loss must be of the size of the others', or the step it
    makes is the only one that counts; a round's loss is 1 to a few for vectors of independent numbers."""
    inputs = all_known(gaussian(0, 9, C), gaussian(1, 9, O))
    assert trainer_of(alignment, inputs, batch_size=9).train_round(1) < 100
    assert trainer_of(alignment, inputs, batch_size=8).train_round(1) < 100


@EVERY
def test_private_parts_are_kept_where_rounds_train_them(alignment):
    """Put away after a round and taken up by another process, the next round is the same to the last bit; taking up
    nothing starts from the seed."""
    fresh, going_on = trainer_of(alignment), trainer_of(alignment)
    going_on.train_round(1)
    kept = going_on.private()
    assert bool(kept) == (alignment in {"none", "semantic"})
    assert all(name.startswith("own_") for name in kept)
    other = trainer_of(alignment)
    other.model.load_state_dict(going_on.model.shared_state(), strict=False)
    other.load_private(kept)
    assert parameters(other) == parameters(going_on)
    for trainer in (going_on, other):
        trainer.train_round(2)
    assert parameters(other) == parameters(going_on)
    going_on.load_private({})
    started = parameters(fresh)
    assert {name: value for name, value in parameters(going_on).items() if name.startswith("own_")} == {
        name: value for name, value in started.items() if name.startswith("own_")
    }


def test_what_was_kept_does_not_change_with_the_model():
    trainer = trainer_of("none")
    kept = trainer.private()
    before = {name: value.tobytes() for name, value in kept.items()}
    trainer.train_round(1)
    assert {name: value.tobytes() for name, value in kept.items()} == before


# the end


@EVERY
def test_the_own_levels_leave_all_that_is_shared(alignment):
    """To the last bit. Elsewhere than under gram and layered, the private encoders stay as the rounds left them."""
    trainer = trainer_of(alignment)
    trainer.train_round(1)
    before, levels = parameters(trainer), common_codebooks(trainer)
    explained = trainer.finish()
    moved = {"own_encoder", "own_decoder", "own_codebook"} if alignment in LAYERED else {"own_codebook"}
    assert changed(before, parameters(trainer)) == moved
    assert common_codebooks(trainer) == levels
    assert 0 <= explained <= 1


def transparent(
    points: list[tuple[float, float]], corners: list[tuple[float, float]], own: list[int]
) -> list[np.ndarray]:
    """The own codebooks on what ``corners`` leave of ``points``, under encoders that change nothing, before they learn
    anything to speak of."""
    inputs = all_known(np.array(points), np.ones((len(points), O)))
    trainer = trainer_of(
        "procrustes",
        inputs,
        global_levels=[len(corners)],
        local_levels=own,
        dimension=2,
        epochs=1,
        batch_size=100,
        learning_rate=1e-12,
    )
    trainer.model.encoder = trainer.model.decoder = torch.nn.Identity()
    trainer.install([np.array(corners, np.float32)])
    trainer.finish()
    return [codebook.detach().numpy() for codebook in trainer.model.own_codebook]


def rounded(codebook: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(float(number) + 0.0 for number in np.round(vector, 3)) for vector in codebook}


def test_own_levels_start_by_k_means_on_what_is_left():
    """Around each of three common codes lie four places of two things: left and right, of which each is up or down."""
    corners = [(0.0, 0.0), (90.0, 0.0), (0.0, 90.0)]
    points = [(x + u, y + v) for x, y in corners for u in (-5.0, 5.0) for v in (-1.0, 1.0) for _ in range(2)]
    first, second = transparent(points, corners, [2, 2])
    assert rounded(first) == {(-5, 0), (5, 0)}
    assert rounded(second) == {(0, -1), (0, 1)}


def test_own_codes_that_nobody_uses_move_onto_something_there_is():
    """Two things are left over and there are five codes: the copies of k-means lie beside, and none may stay there."""
    (codebook,) = transparent([(-5.0, 1.0), (5.0, 2.0)] * 6, [(0.0, 0.0), (900.0, 900.0)], [5])
    assert rounded(codebook) == {(-5, 1), (5, 2)}


@EVERY
def test_the_end_may_come_twice(alignment):
    """A market that is asked again, its answer lost, gives the same codes."""
    trainer = trainer_of(alignment)
    trainer.train_round(1)
    kept, found = trainer.private(), []
    for _ in range(2):
        trainer.load_private(kept)
        found.append((trainer.finish(), trainer.codes(trainer.inputs).codes.tolist()))
    assert found[0] == found[1]


@EVERY
def test_without_own_levels_the_end_changes_nothing(alignment):
    trainer = trainer_of(alignment, local_levels=[])
    before = parameters(trainer)
    trainer.finish()
    assert parameters(trainer) == before
    assert trainer.codes(trainer.inputs).sizes == (4, 3)


# codes


@EVERY
@pytest.mark.parametrize(("common_levels", "own_levels"), [([4, 3], [3, 2]), ([4], []), ([4], [3]), ([], [3, 2])])
def test_codes_by_loops_and_what_is_not_known(alignment, common_levels, own_levels):
    """Of others than those that were trained on. The code after the last one says that nothing is known."""
    trainer = trainer_of(alignment, global_levels=common_levels, local_levels=own_levels)
    trainer.finish()
    asked = some(18, seed=50)
    table = trainer.codes(asked)
    assert table.sizes == (*common_levels, *own_levels)
    first, second = first_and_second(trainer, asked)
    shared, own = in_double(trainer)
    for row in range(18):
        codes, _, left = greedy(first[row], shared)
        taken = 0 if alignment in LAYERED else first[row] - left
        beyond, _, _ = greedy(second[row] - taken, own)
        told = known_levels(alignment, asked.known[row])
        wanted = [*(codes if told[0] else common_levels), *(beyond if told[1] else own_levels)]
        assert table.codes[row].tolist() == wanted
    assert table.codes.dtype == np.int64


def test_identity_codes_and_all_of_them_together():
    """Sizes have room for the code that says that nothing is known; 2 x 3 + 1 is the place of (2, 1) among 3 x 3."""
    fields, sizes = CodeTable(np.array([[0, 0], [2, 1], [1, 2], [0, 1]]), (2, 2)).fields()
    assert sizes == (4, 3, 3, 9)
    assert fields.tolist() == [[0, 0, 0, 0], [1, 2, 1, 7], [2, 1, 2, 5], [3, 0, 1, 1]]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(2, 4), min_size=2, max_size=3), st.integers(0, 100))
def test_equal_codes_are_one_combination_and_others_another(sizes, seed):
    generator = np.random.default_rng(seed)
    codes = generator.integers(np.array(sizes) + 1, size=(12, len(sizes)))
    fields, found = CodeTable(codes, tuple(sizes)).fields()
    assert fields.shape == (12, len(sizes) + 2) == (12, len(found))
    assert (fields >= 0).all()
    assert (fields < np.array(found)).all()
    for one, other in itertools.product(range(12), range(12)):
        assert (fields[one, -1] == fields[other, -1]) == (codes[one] == codes[other]).all()


@pytest.mark.parametrize(
    ("sizes", "together"),
    [((1023, 1023), True), ((1024, 1023), False), ((65536, 65536, 65536, 65536), False), ((7,), False), ((), False)],
)
def test_too_many_combinations_get_no_field(sizes, together):
    """2^20 are the most; the product of the last row's is more than 64 bits. One level, or none, needs no field."""
    codes = np.tile(np.array(sizes, np.int64), (3, 1)).reshape(3, len(sizes))  # all unknown: the largest numbers
    fields, found = CodeTable(codes, sizes).fields()
    assert found == (3, *(size + 1 for size in sizes), *([2**20] if together else []))
    assert fields.shape == (3, len(found))
    assert fields[:, 0].tolist() == [0, 1, 2]
    if together:
        assert fields[:, -1].tolist() == [2**20 - 1] * 3


def test_codes_that_say_nothing():
    """As many codes as the others have, never the one of what is not known; all of them occur."""
    drawn = [CodeTable.random(500, (4, 3), np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert [set(column) for column in drawn[0].codes.T] == [{0, 1, 2, 3}, {0, 1, 2}]
    assert drawn[0].sizes == (4, 3)
    assert np.array_equal(drawn[0].codes, drawn[1].codes)
    assert not np.array_equal(drawn[0].codes, drawn[2].codes)
    fields, sizes = CodeTable.none(3).fields()
    assert fields.tolist() == [[0], [1], [2]]
    assert sizes == (3,)


def test_market_codes_written_and_read_back():
    table = CodeTable.random(5, (4, 3), np.random.default_rng(0))
    found = MarketCodes(table, CodeTable(table.codes[::2], (4, 3)))
    again = MarketCodes.read(found.arrays(), (4, 3))
    assert np.array_equal(again.users.codes, table.codes)
    assert np.array_equal(again.items.codes, table.codes[::2])
    assert again.users.sizes == again.items.sizes == (4, 3)


# one market alone


def alone(alignment: str, **changes: Any) -> tuple[bytes, float]:
    trainer = trainer_of(alignment, **changes)
    explained = train_codes_alone(trainer)
    return trainer.codes(trainer.inputs).codes.tobytes(), explained


@EVERY
def test_the_same_seed_gives_the_same_codes(alignment):
    """Whatever torch's own generator has drawn in between."""
    found = []
    for _ in range(2):
        found.append(alone(alignment))
        torch.rand(3)
    assert found[0] == found[1]
    assert len({alone(alignment, seed=seed)[0] for seed in (0, 1, 2)}) == 3


@EVERY
@pytest.mark.parametrize(
    ("common_levels", "own_levels"), [([4], [3]), ([4, 3], []), ([], [3]), ([], [3, 2]), ([2, 2, 2], [3, 2])]
)
def test_a_market_alone_with_any_number_of_levels(alignment, common_levels, own_levels):
    """Own levels alone, too, which the recipe allows."""
    trainer = trainer_of(alignment, global_levels=common_levels, local_levels=own_levels)
    explained = train_codes_alone(trainer)
    assert 0 <= explained <= 1
    table = trainer.codes(trainer.inputs)
    assert table.sizes == (*common_levels, *own_levels)
    assert table.codes.shape == (N, len(table.sizes))
    assert (table.codes >= 0).all()
    assert (table.codes <= np.array(table.sizes)).all()


@EVERY
def test_groups_that_lie_apart_have_codes_of_their_own(alignment):
    """Four groups of common vectors, and across them three of own ones. What the common level is given tells the
    groups of the one kind apart (of the other, where there are only private encoders); under gram and layered the own
    level tells those of the other kind."""
    common, own = np.arange(48) % 4, np.arange(48) // 4 % 3
    inputs = all_known(
        gaussian(0, 4, C)[common] + 0.02 * gaussian(2, 48, C), gaussian(1, 3, O)[own] + 0.02 * gaussian(3, 48, O)
    )
    changes = {"global_levels": [8], "local_levels": [12], "rounds": 30, "epochs": 5}
    trainer = trainer_of(alignment, inputs, **changes)
    assert train_codes_alone(trainer) > 0.5
    codes = trainer.codes(inputs).codes
    assert_pure(codes[:, 0], own if alignment == "none" else common)
    if alignment in LAYERED:
        assert_pure(codes @ [100, 1], own)


def assert_pure(codes: np.ndarray, groups: np.ndarray) -> None:
    """No code stands for things of two groups."""
    assert len(set(zip(codes, groups, strict=True))) == len(set(codes))


@EVERY
def test_more_own_codes_explain_more(alignment):
    """Of vectors without any order, and two common codes."""
    inputs = all_known(gaussian(0, N, C), gaussian(1, N, O))
    shares = []
    for own in ([2], [8, 8]):
        trainer = trainer_of(alignment, inputs, global_levels=[2], local_levels=own, rounds=20, epochs=5)
        shares.append(train_codes_alone(trainer))
        assert len(np.unique(trainer.codes(inputs).codes[:, 1])) == own[0]
    assert shares[1] > shares[0]


def one_item(known: bool = True) -> CodeInputs:
    inputs = some(1)
    return CodeInputs(inputs.common, inputs.own, np.full((1, 2), known))


@EVERY
def test_a_market_of_one_item(alignment):
    """It gets its codes, though there is no variance to explain."""
    trainer = trainer_of(alignment, one_item())
    explained = train_codes_alone(trainer)
    assert 0 <= explained <= 1
    assert (trainer.codes(trainer.inputs).codes < [4, 3, 3, 2]).all()


@pytest.mark.parametrize("alignment", ["layered", "none"])
def test_the_loss_of_one_item_is_of_the_usual_size(alignment):
    """It has no variance to be measured against; the server refuses losses above 1e12."""
    assert 0 <= trainer_of(alignment, one_item()).train_round(1) < 1000


def nothing_known(common: bool = False) -> CodeInputs:
    """Under ``gram``, say: no pair of items was met by enough users."""
    inputs = some(6)
    return CodeInputs(inputs.common, inputs.own, np.tile([common, False], (6, 1)))


@EVERY
def test_of_what_is_not_known_nothing_is_told_or_coded(alignment):
    trainer = trainer_of(alignment, nothing_known())
    assert [statistics.count.tolist() for statistics in trainer.statistics()] == [[0] * 4, [0] * 3]
    assert not any(statistics.sum.any() for statistics in trainer.statistics())
    assert trainer.codes(trainer.inputs).codes.tolist() == [[4, 3, 3, 2]] * 6


@EVERY
def test_a_market_that_knows_nothing_takes_part_without_harm(alignment):
    """It explains nothing, learns nothing, and sends finite numbers: not a share and parameters that are no numbers."""
    trainer = trainer_of(alignment, nothing_known())
    assert trainer.explained() == 0
    before = parameters(trainer)
    assert np.isfinite(trainer.train_round(1))
    assert parameters(trainer) == before


@EVERY
@pytest.mark.parametrize("common", [False, True], ids=["nothing", "no-own-vectors"])
def test_a_market_without_anything_for_its_own_levels_still_gets_codes(alignment, common):
    """Those levels say that nothing is known, where they are made of vectors that nobody has."""
    trainer = trainer_of(alignment, nothing_known(common))
    assert 0 <= trainer.finish() <= 1
    codes = trainer.codes(trainer.inputs).codes
    told = known_levels(alignment, np.array([common, False]))
    assert (codes[:, :2] == [4, 3]).all() == (not told[0])
    assert (codes[:, 2:] == [3, 2]).all() == (not told[1])


def test_a_market_alone_in_which_no_pair_of_items_is_known():
    """Its own counts give no vectors for the first codebook of ``gram``: it starts from the seed, as without them."""
    trainer = trainer_of("gram", nothing_known())
    assert 0 <= train_codes_alone(trainer) <= 1
    assert trainer.codes(trainer.inputs).codes.tolist() == [[4, 3, 3, 2]] * 6


@EVERY
def test_what_is_not_known_is_not_looked_at(alignment):
    """Whatever stands in the place of an unknown vector, rounds, own levels and codes are the same. An item that
    nobody met before the holdout has no collaborative vector that its text could be drawn to."""
    clean, spoilt = some(), some()
    for side, (array, garbage) in enumerate(((spoilt.common, gaussian(8, N, C)), (spoilt.own, gaussian(9, N, O)))):
        unknown = ~spoilt.known[:, side]
        array[unknown] = 5 * garbage[unknown]
    if alignment == "procrustes":  # both kinds are made of the own vectors there
        known = clean.known[:, [1, 1]]
        clean, spoilt = (CodeInputs(inputs.common, inputs.own, known) for inputs in (clean, spoilt))
        spoilt.common[known[:, 0]] = clean.common[known[:, 0]]
    found = []
    for inputs in (clean, spoilt):
        trainer = trainer_of(alignment, inputs)
        train_codes_alone(trainer)
        found.append((parameters(trainer), trainer.codes(inputs).codes.tolist()))
    assert changed(found[0][0], found[1][0]) == set()
    assert found[0][1] == found[1][1]
