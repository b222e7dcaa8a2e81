"""Codes of one market's items and users: rounds on the common levels, then the market's own levels, then the tables.

A round trains encoder and decoder with the common codebook frozen. When the rounds are over the shared parts stay as
they are, so that codes mean the same everywhere, and the market quantises what they leave over: its own levels start by
k-means on its own residuals.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from fedrec.exchange.codebook import CodebookState, CodeStatistics, next_codebook
from fedrec.models.quantiser import initial_codebook, nearest, quantise
from fedrec.models.rqvae import LAYERED, RqVae, build_rqvae, first_codebooks
from fedrec.recipe import Alignment, CodesSettings
from fedrec.seeds import derive_seed, numpy_generator, seeded_torch
from fedrec.semantics.base import ItemVectors
from fedrec.training.collaborative import CollaborativeVectors

_LARGEST_COMBINATION = 2**20  # more combinations of codes than that get no field of their own
_WARM_UP = 0.5  # share of the own levels' epochs before their codebooks start
_CPU = torch.device("cpu")
Floats = NDArray[np.float32]
State = dict[str, Tensor]


@dataclass(frozen=True)
class CodeTable:
    """Codes of N things on L levels; the code ``sizes[l]`` on level l means that nothing is known."""

    codes: NDArray[np.int64]  # [N, L]
    sizes: tuple[int, ...]

    @classmethod
    def none(cls, count: int) -> "CodeTable":
        """No codes at all."""
        return cls(np.zeros((count, 0), np.int64), ())

    @classmethod
    def random(cls, count: int, sizes: tuple[int, ...], generator: np.random.Generator) -> "CodeTable":
        """Codes that say nothing: a control."""
        return cls(generator.integers(sizes, size=(count, len(sizes))), sizes)

    def without(self) -> "CodeTable":
        """The same things with no codes."""
        return CodeTable.none(len(self.codes))

    def fields(self) -> tuple[NDArray[np.int64], tuple[int, ...]]:
        """Identity, the code of each level, and where there are several all of them together: [N, F] and sizes."""
        columns = [np.arange(len(self.codes)), *self.codes.T]
        sizes = [len(self.codes), *(size + 1 for size in self.sizes)]
        together = int(np.prod([size + 1 for size in self.sizes], dtype=object)) if len(self.sizes) > 1 else 0
        if 0 < together <= _LARGEST_COMBINATION:
            columns.append(np.ravel_multi_index(tuple(self.codes.T), tuple(size + 1 for size in self.sizes)))
            sizes.append(together)
        return np.stack(columns, axis=1), tuple(sizes)


@dataclass(frozen=True)
class MarketCodes:
    """What one method says of a market's users and items."""

    users: CodeTable
    items: CodeTable

    def arrays(self) -> dict[str, NDArray[np.int64]]:
        """As they are kept on disk."""
        return {name: np.ascontiguousarray(part.codes) for name, part in (("users", self.users), ("items", self.items))}

    @classmethod
    def read(cls, arrays: Mapping[str, NDArray[np.int64]], sizes: tuple[int, ...]) -> "MarketCodes":
        """The way back."""
        return cls(CodeTable(arrays["users"], sizes), CodeTable(arrays["items"], sizes))


@dataclass(frozen=True)
class CodeInputs:
    """What describes N items or users: vectors that mean the same everywhere, and the market's own."""

    common: Floats  # [N, c]
    own: Floats  # [N, o]
    known: NDArray[np.bool_]  # [N, 2] which of the two is known

    @classmethod
    def of_items(
        cls,
        semantics: ItemVectors,
        vectors: CollaborativeVectors,
        alignment: Alignment,
        interactions: NDArray[np.int64],
    ) -> "CodeInputs":
        """Of a market's items. Vectors are scaled to numbers of about one; ``procrustes`` turns the own ones.

        ``interactions`` [I]: of each item. Items with more of them are known better, and count more for the rotation.
        """
        own = _scaled(vectors.items, vectors.known_items)
        common, known = semantics.vectors * np.float32(semantics.vectors.shape[1] ** 0.5), semantics.known
        if alignment == "procrustes":
            both = semantics.known & vectors.known_items
            common, known = turned(own, common, np.sqrt(interactions * both)), vectors.known_items
        return cls(common.astype(np.float32), own, np.stack([known, vectors.known_items], axis=1))

    @classmethod
    def of_users(cls, items: "CodeInputs", vectors: CollaborativeVectors, histories: sparse.csr_matrix) -> "CodeInputs":
        """Of a market's users: the mean of the items of their ``histories`` [U, I], and their own vectors."""
        weights = np.asarray(histories @ items.known[:, 0].astype(np.float32))  # [U] how many known items
        common = np.asarray(histories @ (items.common * items.known[:, :1])) / np.maximum(weights, 1)[:, None]
        own = _scaled(vectors.users, vectors.known_users)
        return cls(common.astype(np.float32), own, np.stack([weights > 0, vectors.known_users], axis=1))


class CodeTrainer:
    """The autoencoder of one market."""

    def __init__(
        self,
        settings: CodesSettings,
        alignment: Alignment,
        inputs: CodeInputs,
        seed: int,
        market: str,
        device: torch.device = _CPU,
    ) -> None:
        self.settings = settings
        self.alignment = alignment
        self.inputs = inputs
        self.seed = seed
        self.market = market
        self.device = device
        self.model: RqVae = build_rqvae(settings, alignment, inputs.common.shape[1], inputs.own.shape[1], seed)
        self.model.to(device)
        self._fresh = {n: v.detach().clone() for n, v in self.model.state_dict().items() if n.startswith("own_")}
        self._common, self._own = (torch.from_numpy(part).to(device) for part in (inputs.common, inputs.own))
        self._own_known = torch.from_numpy(np.ascontiguousarray(inputs.known[:, 1])).to(device)
        self._first = self._known(common=True)
        self._second = self._known(common=False)
        self._expected: list[Tensor] = []  # [codes, o] of each common level: see ``_beyond``

    def install(self, codebooks: list[Floats]) -> None:
        """Take the common codebooks as they are."""
        self.model.codebook = [torch.from_numpy(np.array(part, np.float32)).to(self.device) for part in codebooks]

    def private(self) -> dict[str, NDArray[np.float32]]:
        """What a round changed of the market's own parts, for its own memory; nothing where rounds train none."""
        own = self.model.state_dict() if self.alignment in {"none", "semantic"} else {}
        return {name: value.detach().cpu().numpy().copy() for name, value in own.items() if name.startswith("own_")}

    def load_private(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take them up again; with none, start from the seed."""
        state = self._fresh | {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        self.model.load_state_dict(state, strict=False)

    @torch.inference_mode()
    def statistics(self) -> list[CodeStatistics]:
        """Items per code and sums of what each common level was given, under the encoder as it is."""
        _, shared, _, _ = self.model.levels(self._common[self._first], self._own[self._first], True)
        if shared is None:
            return []
        return [
            CodeStatistics.of(codes, given, len(codebook))
            for codes, given, codebook in zip(
                shared.codes.T.cpu().numpy(), shared.residuals.cpu().numpy(), self.model.codebook, strict=True
            )
        ]

    @torch.inference_mode()
    def explained(self) -> float:
        """Share of the common inputs' variance that the common levels explain, in [0, 1]; below zero counts as zero."""
        if not len(self._first):
            return 0.0
        self.model.eval()
        coded = self.model(self._common[self._first], self._own[self._first], True)
        return max(float(coded.explained), 0.0)

    def train_round(self, number: int) -> float:
        """The recipe's epochs with the common codebook frozen; the mean loss of the last."""
        parameters = [p for name, p in self.model.named_parameters() if not name.startswith("own_codebook.")]
        optimiser = torch.optim.AdamW(parameters, lr=self.settings.learning_rate)
        with seeded_torch(self.seed, self.market, "codes", number):
            return [
                self._epoch(optimiser, self._first, ("codes", number, epoch)) for epoch in range(self.settings.epochs)
            ][-1]

    def finish(self) -> float:
        """The market's own levels, on shared parts that stay as they are; the share of variance explained.

        Under ``gram`` and ``layered`` the own encoder and decoder learn with them; elsewhere the residual is what the
        shared encoder leaves, and its codebooks only have to settle.
        """
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name.startswith("own_") and (self.alignment in LAYERED or "codebook" in name))
        if not len(self._second):
            return 0.0
        if self.alignment in LAYERED:
            self._expect()
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        epochs = self.settings.epochs * self.settings.rounds if self.alignment in LAYERED else self.settings.epochs
        common, own = self._common, self._beyond(self.inputs)
        started = False
        if trained and len(self.model.own_codebook):
            optimiser = torch.optim.AdamW(trained, lr=self.settings.learning_rate, weight_decay=0.0)
            for epoch in range(epochs):
                if not started and (self.alignment not in LAYERED or epoch >= _WARM_UP * epochs):
                    self._start_own_levels(own)
                    started = True
                if started:
                    self._epoch(optimiser, self._second, ("own levels", epoch), own)
                    self._reseed(epoch, own)
                else:
                    self._warm(optimiser, epoch, own)
        self.model.eval()
        with torch.inference_mode():
            both = np.intersect1d(self._first, self._second)
            return max(float(self.model(common[both], own[both]).explained), 0.0) if len(both) else 0.0

    def codes(self, inputs: CodeInputs) -> CodeTable:
        """Codes of items or users; a level whose input is not known says so."""
        sizes = (*self.settings.global_levels, *self.settings.local_levels)
        self.model.eval()
        with torch.inference_mode():
            common = torch.from_numpy(inputs.common).to(self.device)
            _, shared, _, private = self.model.levels(common, self._beyond(inputs))
        parts = [result.codes for result in (shared, private) if result is not None]
        codes = torch.cat(parts, dim=1).cpu().numpy()
        first, second = _levels_known(inputs, self.alignment)
        known = np.repeat(
            np.stack([first, second]), [len(self.settings.global_levels), len(self.settings.local_levels)], axis=0
        )
        return CodeTable(np.where(known.T, codes, np.array(sizes)), sizes)

    def _known(self, common: bool) -> NDArray[np.int64]:
        return np.flatnonzero(_levels_known(self.inputs, self.alignment)[0 if common else 1])

    @torch.no_grad()
    def _expect(self) -> None:
        """Of every common level, what its codes let one expect of an own vector: the mean of those it stands for."""
        both = np.intersect1d(self._first, self._second)
        codes, rest = self._common_codes(self._common[both]), self._own[both]
        self._expected = []
        for code, codebook in zip(codes, self.model.codebook, strict=True):
            chosen = F.one_hot(code, len(codebook)).to(rest.dtype)  # [N, K]
            self._expected.append(chosen.T @ rest / chosen.sum(dim=0).clamp_min(1)[:, None])
            rest = rest - chosen @ self._expected[-1]

    @torch.no_grad()
    def _beyond(self, inputs: CodeInputs) -> Tensor:
        """Own vectors [N, o] less what the common codes, where they are known, let one expect of them."""
        common, own = (torch.from_numpy(part).to(self.device) for part in (inputs.common, inputs.own))
        known = torch.from_numpy(np.ascontiguousarray(inputs.known[:, :1])).to(self.device)  # [N, 1]
        codes = self._common_codes(common) if self._expected else []
        for code, expected in zip(codes, self._expected, strict=True):
            own = own - known * expected[code]
        return own

    def _common_codes(self, common: Tensor) -> list[Tensor]:
        """Of inputs [N, c] under ``gram`` and ``layered``: the codes [N] of each common level."""
        codebook = self.model.codebook
        return list(quantise(self.model.encoder(common), codebook).codes.T) if codebook else []

    def _epoch(
        self,
        optimiser: torch.optim.Optimizer,
        rows: NDArray[np.int64],
        purpose: tuple[str | int, ...],
        own: Tensor | None = None,
    ) -> float:
        """With ``own`` [N, o] for the own levels, without it for the common ones alone; the mean loss."""
        self.model.train()
        total = 0.0
        for batch in self._batches(rows, purpose):
            known, vectors = self._own_known[batch], self._own if own is None else own
            loss = self.model(self._common[batch], vectors[batch], own is None, known).loss
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(batch)
        return total / max(len(rows), 1)

    def _warm(self, optimiser: torch.optim.Optimizer, epoch: int, own: Tensor) -> None:
        """The own encoder and decoder alone, before there is anything to quantise by."""
        for batch in self._batches(self._second, ("warm up", epoch)):
            loss = F.mse_loss(self.model.own_decoder(self.model.own_encoder(own[batch])), own[batch])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    def _batches(self, rows: NDArray[np.int64], purpose: tuple[str | int, ...]) -> list[Tensor]:
        if not len(rows):
            return []
        order = numpy_generator(self.seed, self.market, *purpose).permutation(rows)
        return list(torch.split(torch.from_numpy(order), self.settings.batch_size))

    @torch.no_grad()
    def _start_own_levels(self, own: Tensor) -> None:
        """Every own level by k-means on what the levels before it leave."""
        _, _, rest, _ = self.model.levels(self._common[self._second], own[self._second], True)
        for level, codebook in enumerate(self.model.own_codebook):
            seed = derive_seed(self.seed, self.market, "k-means", level)
            codebook.copy_(torch.from_numpy(initial_codebook(rest.cpu().numpy(), len(codebook), seed)))
            rest = rest - codebook[nearest(rest, codebook)]

    @torch.no_grad()
    def _reseed(self, epoch: int, own: Tensor) -> None:
        """Own codes that nobody uses move onto random residuals of their level."""
        _, _, _, private = self.model.levels(self._common[self._second], own[self._second])
        if private is None:
            return
        for level, codebook in enumerate(self.model.own_codebook):
            used = np.bincount(private.codes[:, level].cpu().numpy(), minlength=len(codebook))
            dead = np.flatnonzero(used == 0)
            generator = numpy_generator(self.seed, self.market, "dead codes", level, epoch)
            rows = generator.integers(len(private.codes), size=len(dead))
            codebook[torch.from_numpy(dead)] = private.residuals[level][torch.from_numpy(rows)]


def train_codes_alone(trainer: CodeTrainer) -> float:
    """The local baseline: the federation's rounds, on what this market knows alone; the share explained."""
    settings = trainer.settings
    known = trainer.inputs.known[:, 0]
    gram = torch.from_numpy(trainer.inputs.common[known]) if trainer.alignment == "gram" and known.any() else None
    states = [CodebookState.start(codebook) for codebook in first_codebooks(trainer.model, gram, trainer.seed)]
    for number in range(1, settings.rounds + 1):
        trainer.install([state.codebook for state in states])
        parts = trainer.statistics()
        if number > settings.refine:
            trainer.train_round(number)
        states = [
            next_codebook(state, [part], settings, numpy_generator(trainer.seed, "codebook", level, number))
            for level, (state, part) in enumerate(zip(states, parts, strict=True))
        ]
    trainer.install([state.codebook for state in states])
    return trainer.finish()


def rotation(own: Floats, anchor: Floats) -> Floats:
    """The map R [o, c] with orthonormal rows (columns, where c < o) that takes ``own`` [N, o] nearest to ``anchor``.

    Orthogonal Procrustes (Schönemann, Psychometrika 1966): R = U V' of the singular vectors of own' anchor.
    """
    left, _, right = np.linalg.svd(np.asarray(own, np.float64).T @ np.asarray(anchor, np.float64), full_matrices=False)
    return np.asarray(left @ right, np.float32)


def turned(own: Floats, anchor: Floats, weights: NDArray[np.floating]) -> Floats:
    """``own`` [N, o] moved and turned onto ``anchor`` [N, c], each row counting as much as its weight [N] says."""
    if not weights.any():
        return own @ rotation(own[:0], anchor[:0])
    centres = [np.average(part, axis=0, weights=weights).astype(np.float32) for part in (own, anchor)]
    left, right = own - centres[0], anchor - centres[1]
    return np.asarray(left @ rotation(left * weights[:, None], right) + centres[1], np.float32)


def _scaled(vectors: Floats, known: NDArray[np.bool_]) -> Floats:
    """Divided by the root mean square of the known rows' numbers, so that all inputs have about the same size."""
    size = float(np.sqrt(np.mean(np.square(vectors[known], dtype=np.float64)))) if known.any() else 1.0
    return (vectors / np.float32(size or 1.0)).astype(np.float32)


def _levels_known(inputs: CodeInputs, alignment: Alignment) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For which rows the common levels and the own ones say something, [N] each."""
    common, own = inputs.known.T
    if alignment == "none":
        return own, own
    if alignment in LAYERED:
        return common, own
    return common, common
