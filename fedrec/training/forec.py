"""The three steps of FOREC (models/pointwise/forec.py): a model of all markets, made easy to adapt, then forked."""

from collections.abc import Iterator, Sequence

import torch
from torch.func import functional_call

from fedrec.models.pointwise.forec import Forec
from fedrec.progress import Progress, no_progress
from fedrec.seeds import numpy_generator, seeded_torch
from fedrec.training.pointwise import (
    Evaluate,
    Fitted,
    Labelled,
    PointwiseMarket,
    Settings,
    fit,
    labelled_batches,
    validation,
)

_META_EPOCHS = 3
_STEP = 0.1  # of the inner update


def fit_forec(
    model: Forec,
    markets: Sequence[PointwiseMarket],
    targets: Sequence[PointwiseMarket],
    settings: Settings,
    seed: int,
    progress: Progress = no_progress,
) -> list[Fitted]:
    """The forked model of every target; ``model`` itself is left as the last fork was."""
    evaluations = [validation(market) for market in markets]
    mean: Evaluate = lambda m: sum(evaluate(m) for evaluate in evaluations) / len(evaluations)  # noqa: E731
    (common,) = fit(model, markets, [mean], settings, seed, "forec", progress=progress)
    model.load_state_dict(common.state)
    meta_learn(model, markets, settings, seed)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    results = []
    for target in targets:
        model.head = None
        model.load_state_dict(start)
        with seeded_torch(seed, "forec fork", target.name):
            model.fork()
        (best,) = fit(model, [target], [validation(target)], settings, seed, f"forec {target.name}", progress=progress)
        results.append(best)
    return results


def meta_learn(model: Forec, markets: Sequence[PointwiseMarket], settings: Settings, seed: int) -> None:
    """MAML (Finn et al., ICML 2017), first order: the gradient after one step on one batch of a market, over markets.

    An epoch is a pass over the largest market; the others begin again, so that all count alike.
    """
    optimiser = torch.optim.Adam(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    largest = max(markets, key=lambda market: len(market.split.train.items))
    with seeded_torch(seed, "forec meta"):
        for epoch in range(_META_EPOCHS):
            endless = {
                market.name: _again_and_again(market, settings, seed, epoch)
                for market in markets
                if market is not largest
            }
            generator = numpy_generator(seed, "forec meta", epoch, largest.name)
            pass_over = labelled_batches(largest, settings, 1, generator)
            for support, query in zip(pass_over, pass_over, strict=False):  # one after the other, of one stream
                optimiser.zero_grad(set_to_none=True)
                _accumulate(model, support, query)
                for stream in endless.values():
                    _accumulate(model, next(stream), next(stream))
                optimiser.step()


def _again_and_again(market: PointwiseMarket, settings: Settings, seed: int, epoch: int) -> Iterator[Labelled]:
    generator = numpy_generator(seed, "forec meta", epoch, market.name)
    while True:
        yield from labelled_batches(market, settings, 1, generator)


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
    query_loss = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[query.counted], query.labels[query.counted]
    )
    for parameter, gradient in zip(
        parameters.values(), torch.autograd.grad(query_loss, list(adapted.values())), strict=True
    ):
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
