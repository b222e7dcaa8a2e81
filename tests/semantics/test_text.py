"""Pretrained text encoders, with tiny models made on the spot: no download, the real libraries."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from fedrec.errors import UserError
from fedrec.recipe import load_recipe
from fedrec.semantics.base import ItemEvidence
from fedrec.semantics.factory import make_semantics
from fedrec.semantics.text import StaticSemantics

WORDS = ["[PAD]", "[UNK]", "red", "blue", "lamp", "chair"]
TEXTS = ["red lamp", "blue lamp", "", "red lamp"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDREC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "text"


@pytest.fixture
def static_model(tmp_path: Path) -> Path:
    """Word vectors: each word has its own axis, lamps and chairs point the same way twice as far."""
    model2vec = pytest.importorskip("model2vec")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = Whitespace()
    vectors = np.array([[0, 0, 0], [0, 0, 0], [3, 0, 0], [0, 3, 0], [0, 0, 6], [0, 0, 6]], np.float32)
    model2vec.StaticModel(vectors, tokenizer, normalize=False).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def sentence_model(tmp_path: Path) -> Path:
    """An untrained BERT of one tiny layer, mean pooled."""
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    (tmp_path / "vocab.txt").write_text("\n".join([*WORDS, "[CLS]", "[SEP]", "[MASK]"]))
    config = BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=16,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path / "bert")
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    transformer = Transformer(str(tmp_path / "bert"), max_seq_length=16)
    SentenceTransformer(modules=[transformer, Pooling(8)], device="cpu").save(str(tmp_path / "model"))
    return tmp_path / "model"


def evidence(texts: list[str]) -> ItemEvidence:
    return ItemEvidence([f"i{n}" for n in range(len(texts))], texts, sparse.csr_matrix((1, len(texts))))


def test_static_vectors_are_the_means_of_the_words(static_model: Path) -> None:
    """red lamp: ([3,0,0] + [0,0,6]) / 2; the empty text is unknown; three dimensions need no projection."""
    semantics = StaticSemantics(3, 0, str(static_model))
    expected = [[1.5, 0, 3], [0, 1.5, 3], [0, 0, 0], [1.5, 0, 3]]
    np.testing.assert_allclose(semantics.alone(evidence(TEXTS)), expected, atol=1e-5)
    assert semantics.finish(semantics.alone(evidence(TEXTS)), ["a", "b", "c", "d"]).known.tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize(("dimension", "exact"), [(8, True), (2, False)])
def test_a_projection_upwards_keeps_all_angles(static_model: Path, dimension: int, exact: bool) -> None:
    """Orthonormal rows keep inner products; fewer dimensions than the encoder has cannot keep them all."""
    raw = StaticSemantics(3, 0, str(static_model)).alone(evidence(TEXTS))
    semantics = StaticSemantics(dimension, 0, str(static_model))
    projected = semantics.alone(evidence(TEXTS))
    assert projected.shape == (4, dimension)
    assert np.allclose(projected @ projected.T, raw @ raw.T, atol=1e-4) is exact
    np.testing.assert_array_equal(projected, StaticSemantics(dimension, 0, str(static_model)).alone(evidence(TEXTS)))


def test_what_is_known_is_not_computed_again(
    static_model: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time the encoder is not asked; another text, or another model in the same folder, asks it again."""
    first = StaticSemantics(3, 0, str(static_model)).encode(TEXTS)
    assert len(list(own_cache.iterdir())) == 1
    asked: list[list[str]] = []
    honest = StaticSemantics.compute

    def compute(self: StaticSemantics, texts: list[str]) -> np.ndarray:
        asked.append(texts)
        return honest(self, texts)

    monkeypatch.setattr(StaticSemantics, "compute", compute)
    np.testing.assert_array_equal(StaticSemantics(3, 0, str(static_model)).encode(TEXTS), first)
    assert asked == []
    StaticSemantics(3, 0, str(static_model)).encode(["chair"])
    (static_model / "README.md").write_text("another model")
    StaticSemantics(3, 0, str(static_model)).encode(TEXTS)
    assert asked == [["chair"], TEXTS]


def test_sentences_through_a_transformer(sentence_model: Path) -> None:
    recipe = load_recipe(
        "fecosr",
        ["semantics.kind=sentence-transformers", f"semantics.model={sentence_model}", "semantics.dimension=8"],
    )
    semantics = make_semantics(recipe.semantics, recipe.seed)
    semantics.require()
    vectors = semantics.alone(evidence(TEXTS))
    assert vectors.shape == (4, 8)
    assert not vectors[2].any()
    np.testing.assert_allclose(vectors[0], vectors[3], atol=1e-6)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    semantics = StaticSemantics(8, 0, str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="give the folder of a downloaded model"):
        semantics.require()


def test_a_model_needs_a_kind_that_has_one() -> None:
    with pytest.raises(UserError, match="has no model"):
        load_recipe("fecosr", ["semantics.kind=hashing", "semantics.model=x"])
