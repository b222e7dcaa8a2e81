"""The three steps of FOREC (models/pointwise/forec.py): a model of all markets, made easy to adapt, then forked."""

from collections.abc import Sequence

import torch
from torch.func import functional_call

from fedrec.models.pointwise.forec import Forec
from fedrec.seeds import numpy_generator, seeded_torch
from fedrec.training.pointwise import (
    Fitted,
    Judge,
    Labelled,
    PointwiseMarket,
    Settings,
    Tell,
    fit,
    labelled_batches,
    silent,
    validation,
)

_META_EPOCHS = 5
_STEP = 0.1  # of the inner update


def fit_forec(
    model: Forec,
    markets: Sequence[PointwiseMarket],
    targets: Sequence[PointwiseMarket],
    settings: Settings,
    seed: int,
    tell: Tell = silent,
) -> list[Fitted]:
    """The forked model of every target; ``model`` itself is left as the last fork was."""
    judges = [validation(market) for market in markets]
    mean: Judge = lambda m: sum(judge(m) for judge in judges) / len(judges)  # noqa: E731
    (common,) = fit(model, markets, [mean], settings, seed, "forec", tell=tell)
    model.load_state_dict(common.state)
    meta_learn(model, markets, settings, seed)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    results = []
    for target in targets:
        model.head = None
        model.load_state_dict(start)
        with seeded_torch(seed, "forec fork", target.name):
            model.fork()
        (best,) = fit(model, [target], [validation(target)], settings, seed, f"forec {target.name}", tell=tell)
        results.append(best)
    return results


def meta_learn(model: Forec, markets: Sequence[PointwiseMarket], settings: Settings, seed: int) -> None:
    """MAML (Finn et al., ICML 2017), first order: the gradient after one step on one batch of a market, over markets.

    A pass over the smallest market is an epoch, so that all markets count alike.
    """
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    with seeded_torch(seed, "forec meta"):
        for epoch in range(_META_EPOCHS):
            streams = [
                labelled_batches(market, settings, 1, numpy_generator(seed, "forec meta", epoch, market.name))
                for market in markets
            ]
            while True:
                tasks = [(next(stream, None), next(stream, None)) for stream in streams]
                if any(query is None for _, query in tasks):
                    break
                optimiser.zero_grad(set_to_none=True)
                for support, query in tasks:
                    if support is not None and query is not None:
                        _accumulate(model, support, query)
                optimiser.step()


def _accumulate(model: Forec, support: Labelled, query: Labelled) -> None:
    """Add the gradient of the query at the parameters that one step on the support leads to."""
    parameters = dict(model.named_parameters())
    loss = model.loss(support.request, support.labels, support.counted)
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    adapted = {
        name: (parameter - _STEP * gradient).detach().requires_grad_()
        for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True)
    }
    logits = functional_call(model, adapted, (query.request,))
    judged = torch.nn.functional.binary_cross_entropy_with_logits(logits[query.counted], query.labels[query.counted])
    for parameter, gradient in zip(
        parameters.values(), torch.autograd.grad(judged, list(adapted.values())), strict=True
    ):
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
