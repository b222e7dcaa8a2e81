"""What a private market says of how good models are: nothing, noised sums, or once, rounded, outside epsilon."""

import hashlib
from typing import Any

import numpy as np

from fedrec.clients.instruction import Instruction
from fedrec.clients.node import MarketNode
from fedrec.clients.privacy import market_plan, planned, released, secret_noise
from fedrec.clients.question import made_of
from fedrec.data.catalogue import Vocabulary
from fedrec.data.splits import split_market
from fedrec.exchange.declaration import FINETUNE, HELLO, REPORT
from fedrec.exchange.figures import FIGURES, METRICS, noised_figures
from fedrec.exchange.payload import Payload
from fedrec.files import exclusively, read_json, write_json
from fedrec.metrics.ranking import ndcg, recall
from fedrec.privacy.plan import UPDATE
from fedrec.recipe import Recipe
from fedrec.training.evaluation import all_ranks
from fedrec.training.stages import LocalTrainer

OUTSIDE_QUESTIONS = 10  # of each action, on the same data, over all runs


def tells(node: MarketNode, instruction: Instruction, action: str) -> bool:
    """Whether figures that stand outside epsilon may leave with the answer to a question.

    Only where the recipe says ``outside``; of each action for one question of a run, which may be asked again; and of
    the federated model only after this market trained in it; and in all runs on the same data for a fixed number of
    questions of each action, because names of runs are the coordinator's. More would be an oracle: how well a model of
    its choice does on a few users tells what they bought.
    """
    recipe = instruction.recipe
    if recipe.privacy.reports != "outside":
        return False
    if action in {FINETUNE, REPORT} and recipe.federates and not _trained(node):
        return False
    question = made_of(node, "federated", instruction)  # with all that came before: another answer is another question
    if action == REPORT and node.seal.is_file():  # of which models: whoever has them made anew asks another question
        question += hashlib.sha256(node.seal.read_bytes()).hexdigest()
    path = node.folder / "told.json"
    told = read_json(path) if path.is_file() else {}
    if told.get(action, question) != question:
        return False
    if action == HELLO or action in told:
        return True
    if not _one_more(node, action):
        return False
    write_json(path, {**told, action: question})
    return True


def _one_more(node: MarketNode, action: str) -> bool:
    """Whether one more question of an action may be answered on these data; counts it."""
    path = node.answered / "outside.json"
    with exclusively(node.answered / ".lock"):
        counts = read_json(path) if path.is_file() else {}
        of = f"{node.store.fingerprint} {action}"
        if counts.get(of, 0) >= OUTSIDE_QUESTIONS:
            return False
        write_json(path, {**counts, of: counts.get(of, 0) + 1})
    return True


def shared_figures(node: MarketNode, trainer: LocalTrainer[Any], recipe: Recipe, whole: str) -> Payload:
    """Sums over the test users of the shared model, before anything is fitted here, under the noise of the plan.

    Ranked is everything that the operator declares. The model is made of releases, and each user's figures of it and
    that user's own history: one user more adds one vector of numbers in [0, 1]. A model that was fitted on these users
    is not so, and its figures stay.
    """
    release = planned(market_plan(node, recipe).figures, "figures")
    items = node.prepare(recipe).items
    listed = Vocabulary(items, items)  # what others bought must not decide among what a user's items are ranked
    share, draws = recipe.data.user_share, node.draws(recipe)
    test = split_market(node.store, recipe.splitting, recipe.seed, listed, share, draws).test
    ranks = all_ranks(trainer.scorer(test), test)
    figures = dict(zip(METRICS, (ndcg(ranks, 10, test.rows), recall(ranks, 10, test.rows)), strict=True))
    sums = np.array([*(figures[name].sum() for name in METRICS), len(test)], np.float64)
    key = f"{release.what}:{whole}"
    noised = noised_figures(sums, release, secret_noise(node), key)
    return Payload({FIGURES: noised}, provenance={FIGURES: released(key, release)})


def _trained(node: MarketNode) -> bool:
    """Whether this market released an update in this run."""
    charges = read_json(node.budget)["charges"] if node.budget.is_file() else {}
    return any(charge["what"] == UPDATE for charge in charges.values())
