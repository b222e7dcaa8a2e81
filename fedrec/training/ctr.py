"""Click-through prediction in one market: the same backbone on one set of codes or another."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.data.ctr import CtrSplit, Instances
from fedrec.metrics.ctr import Predictions
from fedrec.models.ctr import CtrInput, CtrModel, Fields, build_ctr_model, ctr_loss
from fedrec.recipe import HEADLINES, CtrSettings
from fedrec.seeds import numpy_generator, seeded_torch
from fedrec.stopping import EarlyStopping
from fedrec.training.codes import MarketCodes

_SCORING_BATCH = 4096
_CPU = torch.device("cpu")
_COMPARED = ("auc", "gauc", "logloss")
State = dict[str, Tensor]


class CtrTrainer:
    """One backbone on one method's codes. The same seed, batches and budget whatever the codes are."""

    def __init__(
        self,
        split: CtrSplit,
        codes: MarketCodes,
        settings: CtrSettings,
        seed: int,
        market: str,
        device: torch.device = _CPU,
    ) -> None:
        self.split = split
        self.settings = settings
        self.seed = seed
        self.market = market
        users, user_sizes = (codes.users.without() if settings.codes == "items" else codes.users).fields()
        items, item_sizes = (codes.items.without() if settings.codes == "users" else codes.items).fields()
        self._users, self._items = torch.from_numpy(users).to(device), torch.from_numpy(items).to(device)
        self.model: CtrModel = build_ctr_model(Fields(user_sizes, item_sizes), settings, seed, market).to(device)

    def train(self) -> EarlyStopping[State]:
        """Train with early stopping on validation LogLoss; the best epoch is kept, the untrained model excluded."""
        settings = self.settings
        watch = EarlyStopping[State](settings.patience)
        optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        with seeded_torch(self.seed, self.market, "ctr", "dropout"):
            for epoch in range(settings.epochs):
                self.model.train()
                for batch in self.split.learn.batches(
                    settings.batch_size, numpy_generator(self.seed, self.market, "ctr", epoch)
                ):
                    loss = ctr_loss(
                        self.model(self.given(batch)), torch.from_numpy(batch.labels).to(self._items.device)
                    )
                    optimiser.zero_grad(set_to_none=True)
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimiser.step()
                state = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
                if watch.offer(-self.predict(self.split.validation).logloss(), state):
                    break
        self.model.load_state_dict(watch.best or {})
        return watch

    @torch.inference_mode()
    def predict(self, instances: Instances) -> Predictions:
        """Predicted probabilities of instances."""
        self.model.eval()
        logits = torch.cat([self.model(self.given(batch)) for batch in instances.batches(_SCORING_BATCH)])
        return Predictions(instances.users, instances.labels, torch.sigmoid(logits.double()).cpu().numpy())

    def given(self, batch: Instances) -> CtrInput:
        """Instances as the model sees them; only DIN looks at histories."""
        longest = self.settings.history if self.settings.backbone == "din" else 0
        past, valid = self.split.histories(batch, longest)
        return CtrInput(
            self._users[torch.from_numpy(batch.users)],
            self._items[torch.from_numpy(batch.items)],
            self._items[torch.from_numpy(past)],
            torch.from_numpy(valid).to(self._items.device),
        )

    def state(self) -> State:
        """Everything that was learned, on the CPU."""
        return {name: value.detach().cpu().contiguous() for name, value in self.model.state_dict().items()}

    def load(self, state: State) -> None:
        """Take it up again."""
        self.model.load_state_dict(state)


def evaluate_ctr(
    predictions: Mapping[str, Predictions], task: str, resamples: int, generator: np.random.Generator
) -> dict[str, float]:
    """Scalars of one market: ``{method}.{metric}``, ``users``, and ``difference.{headline}.{other}.{metric}.{part}``.

    Differences are percentile intervals over resampled users, the same draws for every comparison. ``ece`` is told for
    ratings alone: labels drawn at a fixed rate have nothing to be calibrated to.
    """
    first = next(iter(predictions.values()))
    members = np.unique(first.users)
    scalars = {"users": float(len(members))}
    for method, found in predictions.items():
        scalars |= {f"{method}.{metric}": value for metric, value in _metrics(found, None).items()}
        if task == "ratings":
            scalars[f"{method}.ece"] = found.ece()
    headlines = [method for method in HEADLINES if method in predictions]
    if not headlines:
        return scalars
    draws: dict[str, list[dict[str, float]]] = {method: [] for method in predictions}
    for _ in range(resamples):
        count = np.bincount(generator.integers(len(members), size=len(members)), minlength=len(members)).astype(float)
        weights = np.zeros(int(members[-1]) + 1)
        weights[members] = count
        for method, found in predictions.items():
            draws[method].append(_metrics(found, weights))
    for method in headlines:
        for other in (name for name in predictions if name != method):
            for metric in _COMPARED:
                mean = scalars[f"{method}.{metric}"] - scalars[f"{other}.{metric}"]
                if not np.isfinite(mean):
                    continue
                values = [a[metric] - b[metric] for a, b in zip(draws[method], draws[other], strict=True)]
                low, high = np.nanquantile(values, [0.025, 0.975])
                name = f"difference.{method}.{other}.{metric}"
                scalars |= {f"{name}.mean": mean, f"{name}.low": float(low), f"{name}.high": float(high)}
    return {name: value for name, value in scalars.items() if np.isfinite(value)}


def _metrics(found: Predictions, weights: NDArray[np.float64] | None) -> dict[str, float]:
    """The compared metrics; ``weights`` [U] say how often each user counts."""
    groups = found.group_auc
    instance = None if weights is None else weights[found.users]
    group = None if weights is None else weights[groups.users]
    return {"auc": found.auc(instance), "gauc": groups.mean(group), "logloss": found.logloss(instance)}
