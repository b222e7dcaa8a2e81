"""A run from first question to summary, as the coordinator sees it."""

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import Grid

from fedrec.components.algorithm import Step, algorithm_of
from fedrec.errors import RunError
from fedrec.exchange.declaration import CODES, COLLABORATIVE, CTR, FINETUNE, LOCAL_BASELINES, PRETRAIN, REFIT, REPORT
from fedrec.exchange.figures import SHARED, read_figures
from fedrec.exchange.payload import SCORES, Array
from fedrec.exchange.reply import reason_to_distrust
from fedrec.memory_plan import GIGABYTE, memory_plan, sparse_models
from fedrec.privacy.noise import SecretNoise, kept_secret
from fedrec.privacy.plan import PrivacyPlan, plan_market, plan_markets
from fedrec.recipe import Recipe, conflict
from fedrec.runs.folder import RunFolder
from fedrec.runs.journal import Journal
from fedrec.runs.shared import (
    SharedItems,
    SharedModel,
    SharedStatistics,
    read_items,
    read_shared_model,
    read_shared_statistics,
    write_items,
    write_shared_model,
    write_statistics,
)
from fedrec.runs.summary import build_summary
from fedrec.runs.warm_start import read_warm_start, why_not_warm
from fedrec.semantics.counted import CountedSemantics
from fedrec.semantics.factory import make_semantics
from fedrec.server.catalogues import (
    install_semantics,
    install_statistics,
    share_counted_semantics,
    share_gram,
    share_noised_statistics,
    share_semantics,
    share_statistics,
    share_vocabulary,
)
from fedrec.server.codebooks import STAGE, codebook_rounds
from fedrec.server.federation import Federation, OwnerOf
from fedrec.server.rounds import Rounds, Schedule, run_rounds
from fedrec.strategies.market_noise import MarketNoise
from fedrec.strategies.records import array_record
from fedrec.strategies.sampling import rounds_sampled
from fedrec.strategies.shared_average import SharedAverage
from fedrec.threads import single_threaded

_WORTH_TELLING = 1.0  # GB
Result = TypeVar("Result")
Scalars = dict[str, dict[str, float]]  # by market
Records = list[dict[str, Any]]  # of rounds


class Coordinator:
    """Leads one run, or goes on with one that was interrupted. ``start_from``: a shared model that others have trained.

    With it there are no rounds: the markets only adapt it, on the item vectors that come with it. Where a model lies in
    the run's folder for a warm start, the rounds begin with that.
    """

    def __init__(
        self,
        grid: Grid,
        run: RunFolder,
        recipe: Recipe,
        deadline_seconds: float = 120,
        start_from: SharedModel | None = None,
        owner_of: OwnerOf | None = None,
        part: str = "",
    ) -> None:
        self.grid = grid
        self.run = run
        self.start_from = start_from
        self.warm_start = read_warm_start(run)
        self.deadline_seconds = deadline_seconds
        self.federation = Federation(grid, run.path.name, recipe, owner_of)
        self.federation.on_refusal = lambda market, node, reason: run.event(
            "refused", market=market, node=node, reason=reason
        )
        self.journal = Journal()
        self.plans: dict[str, PrivacyPlan] = {}  # of a private run
        self.part = part  # of the run, that this leads; empty for the whole of it
        self.counted: SharedStatistics | None = None  # of all markets, where a part makes item vectors of them

    def lead(self, expected: list[str], engine: str, dataset: str) -> dict[str, Any]:
        """Run every stage the recipe's methods need; write and return the summary."""
        with single_threaded():
            return self._lead(expected, engine, dataset)

    def _lead(self, expected: list[str], engine: str, dataset: str) -> dict[str, Any]:
        started = time.perf_counter()
        self.federation.discover(expected, self.deadline_seconds)
        self._resolve()
        self._restore()
        self._plan()
        self._add_seconds("setup", started)
        records = self._train_all()
        recipe = self.federation.recipe
        results = self._with_noised(self._step(REPORT, "evaluate", lambda: self._ask(REPORT)))
        self.journal.seconds["total"] = sum(self.journal.seconds.values())
        summary = build_summary(
            recipe=recipe,
            engine=engine,
            dataset=dataset,
            members={market: asdict(member) for market, member in self.federation.members.items()},
            results=results,
            failed=self.journal.failed,
            rounds=records,
            other_bytes=(self.journal.bytes_up, self.journal.bytes_down),
            seconds=self.journal.seconds,
            peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            privacy={market: plan.describe() for market, plan in self.plans.items()},
            chosen=self.journal.chosen,
            warm_start=self.warm_start is not None,
        )
        self.run.write_summary(summary)
        self.run.event("finished", seconds=self.journal.seconds["total"])
        return summary

    def _train_all(self) -> Records:
        """All that comes before the report: what passes between the markets, and the algorithm's steps."""
        recipe = self.federation.recipe
        if recipe.shares_vocabulary:
            self._step("vocabulary", "setup", self._share_vocabulary)
        if recipe.sends_keys:
            self._step("semantics", "setup", self._share_semantics)
        if recipe.sums_counts:
            self._step("gram", "setup", self._share_gram)
        if recipe.sums_statistics:
            self._step("statistics", "setup", self._share_statistics)
        do = {
            Step.CODES: self._codes,
            Step.SCORES: self._scores,
            Step.ROUNDS: self._train,
            Step.REFIT: self._refit,
            Step.FINETUNE: self._finetune,
            Step.BASELINES: self._train_alone,
            Step.CLICKS: self._clicks,
        }
        steps = [step for step in algorithm_of(recipe).plan() if not (self.part and step is Step.BASELINES)]
        return [record for step in steps for record in do[step]()]

    def _scores(self) -> Records:
        """The model whose scores are a feature, in a part of the run; its rounds' records."""
        return self._step(SCORES, "federate", self._train_scores)

    def _train_scores(self) -> Records:
        recipe = self.federation.recipe
        start_from = None if self.start_from is None else self.start_from.scores
        if self.start_from is not None and start_from is None:
            raise RunError("the shared model brings no model for scores, but its ranker was trained on some")
        part = Coordinator(self.grid, self.run.part(SCORES), recipe.scoring, start_from=start_from, part=SCORES)
        part.federation = self.federation.part(SCORES, recipe.scoring)
        if recipe.sums_statistics and recipe.scores.pairs == "once" and start_from is None:
            part.counted = read_shared_statistics(self.run.shared)
        part._restore()
        records = part._train_all()
        self.journal.failed += part.journal.failed
        self.journal.chosen["kept_first"] = part.journal.chosen.get("kept_first", [])
        return records

    @property
    def _methods(self) -> set[str]:
        return set(self.federation.recipe.evaluation.methods)

    def _train(self) -> Records:
        """Rounds on the shared model; their records. A model that others have trained has had its rounds."""
        return [] if self.start_from is not None else self._step("pretrain", "federate", self._pretrain)

    @property
    def _stage(self) -> str:
        """The name of the rounds on the shared model."""
        return self.part or "pretrain"

    def _finetune(self) -> Records:
        """Every market adapts the shared model; no record."""
        if self.start_from is None and not self.federation.recipe.federates:  # nothing was trained together
            self._step(FINETUNE, "finetune", lambda: self._ask(FINETUNE))
            return []
        shared = self.start_from or read_shared_model(self.run.shared)
        self._step(FINETUNE, "finetune", lambda: self._ask(FINETUNE, self._for_all(shared), shared.best_round))
        return []

    def _train_alone(self) -> Records:
        """The models that average with nobody; no record."""
        for method, action in LOCAL_BASELINES.items():
            if method in self._methods:
                self._step(action, "finetune", partial(self._train_local, action))
        return []

    def _clicks(self) -> Records:
        """Click-through models on the codes; no record."""
        self._step(CTR, "finetune", lambda: self._ask(CTR))
        return []

    def _codes(self) -> Records:
        """Every market's own vectors, rounds on the common codebook, every market's codes; the rounds' records."""
        methods = self._methods
        records: Records = []
        if {"federated", "local"} & methods:
            self._step(COLLABORATIVE, "finetune", lambda: self._ask(COLLABORATIVE))
            shared = None
            if "federated" in methods:
                records = self._step("codebook", "federate", self._codebook)
                shared = self._for_all(read_shared_model(self.run.codebook))
            self._step(CODES, "finetune", lambda: self._ask(CODES, shared))
        return records

    def _with_noised(self, reports: Scalars) -> Scalars:
        """The markets' reports, and what they told of the shared model under noise when they had it."""
        finished: Scalars = self.journal.steps.get(FINETUNE, {})
        noised = {
            market: {name: value for name, value in scalars.items() if name.startswith(f"{SHARED}.")}
            for market, scalars in finished.items()
        }
        return {market: scalars | noised.get(market, {}) for market, scalars in reports.items()}

    def _resolve(self) -> None:
        """Replace every ``auto`` by what the markets allow, so that all of them do the same."""
        members = self.federation.members.values()
        recipe = self.federation.recipe.resolved(
            all(member.has_families for member in members), all(member.has_text for member in members)
        )
        found = conflict(recipe)
        if found is not None:
            raise RunError(f"on these markets, {found}")
        reason = None if self.warm_start is None else why_not_warm(self.warm_start, recipe)
        if reason is not None:
            raise RunError(f"the model to begin with: {reason}")
        self.federation.recipe = recipe
        self.run.write_recipe(recipe)
        self.run.event(
            "started",
            markets=self.federation.markets,
            protocol=recipe.evaluation.protocol,
            semantics=recipe.item_semantics or "none, items by key",
        )
        self._plan_memory(recipe)

    def _plan_memory(self, recipe: Recipe) -> None:
        """Say what the markets will hold, if it is much, and what is replaced because it does not fit."""
        members = self.federation.members
        union = sum(member.items for member in members.values())  # at most: what they have in common is not known yet
        plans = {
            market: memory_plan(recipe, member.users, member.items, member.interactions, union)
            for market, member in sorted(members.items())
        }
        needs = {market: sum(part.bytes for part in plan) / GIGABYTE for market, plan in plans.items()}
        sparse = [market for market, member in members.items() if sparse_models(recipe, member.items)]
        if sparse or max(needs.values()) >= _WORTH_TELLING:
            self.run.event("plan", gigabytes=needs, sparse=sorted(sparse), dense_items=recipe.ease.dense_items)

    def _plan(self) -> None:
        """Under privacy: what every market will release, and at what epsilon."""
        recipe = self.federation.recipe
        members = sorted(self.federation.members.items())
        if recipe.privacy.on and self.start_from is None:  # to adapt a model releases nothing
            self.plans = {market: plan_market(recipe, member.users) for market, member in members}
        if recipe.market_privacy.on and self.start_from is None:
            self.plans = dict.fromkeys((market for market, _ in members), plan_markets(recipe, len(members)))
        if self.plans:
            self.run.event("privacy", markets={market: plan.describe() for market, plan in self.plans.items()})

    def _restore(self) -> None:
        """Take up what an earlier start of this run has finished. Its hello is not counted twice."""
        self.journal = self.run.read_journal()
        self.federation.summed = self.journal.summed
        stages = (STAGE, self._stage, "refit")
        if self.journal.steps or any(self.run.last_checkpoint(stage) is not None for stage in stages):
            self.federation.traffic.up, self.federation.traffic.down = self.journal.bytes_up, self.journal.bytes_down

    def _step(self, name: str, phase: str, action: Callable[[], Result]) -> Result:
        """Do ``action`` unless an earlier start of this run has done it; its result must be a JSON value."""
        if name not in self.journal.steps:
            started = time.perf_counter()
            self.journal.steps[name] = action()
            self.journal.bytes_up, self.journal.bytes_down = self.federation.traffic.up, self.federation.traffic.down
            self.journal.summed = self.federation.summed
            self._add_seconds(phase, started)
            self.run.write_journal(self.journal)
        result: Result = self.journal.steps[name]
        return result

    def _add_seconds(self, phase: str, started: float) -> None:
        seconds = self.journal.seconds
        seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - started

    def _share_vocabulary(self) -> dict[str, int]:
        items = share_vocabulary(self.federation)
        self.run.event("vocabulary", items=items)
        return {"items": items}

    def _share_semantics(self) -> dict[str, int]:
        recipe = self.federation.recipe
        if self.start_from is not None:
            return self._install_semantics(self.start_from)
        semantics = make_semantics(recipe.semantics, recipe.seed)
        if not isinstance(semantics, CountedSemantics):
            raise RunError(f"semantics {recipe.semantics.kind!r} are not made of counts")
        onto = None if self.warm_start is None else self.warm_start.items
        if self.counted is not None:
            shared = share_counted_semantics(self.federation, semantics, self.counted)
        else:
            shared = share_semantics(self.federation, semantics, self._noise(), onto)
        write_items(self.run.shared, SharedItems(shared.items, shared.vectors))
        known = int(np.count_nonzero(shared.vectors.any(axis=1)))
        figures = {"items": len(shared.items), "known_items": known, "pairs": shared.pairs}
        if shared.aligned:
            figures["aligned"] = shared.aligned
        self.run.event("semantics", **figures)
        return figures

    def _install_semantics(self, model: SharedModel) -> dict[str, int]:
        if model.items is None:
            raise RunError("the shared model brings no item vectors, but its recipe's semantics were made of counts")
        figures = install_semantics(self.federation, model.items)
        self.run.event("semantics", **figures)
        return figures

    def _noise(self) -> dict[str, float]:
        """By market, the standard deviation of the noise on its item pairs; empty where they come as they are."""
        return {market: plan.pairs.noise_multiplier for market, plan in self.plans.items() if plan.pairs is not None}

    def _share_gram(self) -> dict[str, int]:
        figures = share_gram(self.federation, self.federation.recipe.fedease, self._noise())
        self.run.event("gram", **figures)
        return figures

    def _share_statistics(self) -> dict[str, int]:
        if self.start_from is not None:
            if self.start_from.statistics is None:
                raise RunError("the shared model brings no statistics, but its ranker was trained on them")
            figures = install_statistics(self.federation, self.start_from.statistics)
        elif self._noise():
            figures = share_noised_statistics(self.federation, self._noise())
        else:
            shared = share_statistics(self.federation, algorithm_of(self.federation.recipe).min_count or 1)
            write_statistics(self.run.shared, shared)
            figures = {"items": len(shared.keys), "pairs": shared.statistics.known_pairs}
        self.run.event("statistics", **figures)
        return figures

    def _refit(self) -> Records:
        """As many rounds as were best, from the beginning, with validation users among the learned; their records."""
        rounds = self.journal.chosen.get("aggregates", 0)
        return self._step("refit", "federate", partial(self._refit_rounds, rounds)) if rounds else []

    def _refit_rounds(self, rounds: int) -> Records:
        recipe = self.federation.recipe
        strategy = SharedAverage(self.federation.node_of, recipe, self.federation.largest_weights(REFIT), refits=True)
        self.run.event("refit", rounds=rounds)
        schedule = Schedule("refit", rounds, patience=rounds, validated=False, makes_up=True)
        done = run_rounds(self.grid, self.federation, strategy, self._first_parameters(), self.run, schedule)
        write_shared_model(self.run.shared, recipe, done.shared, done.made_in)
        return done.records

    def _pretrain(self) -> list[dict[str, Any]]:
        recipe = self.federation.recipe
        noise = self._market_noise(recipe.market_privacy.clip_norm) if recipe.market_privacy.on else None
        largest, initial = self.federation.largest_weights(PRETRAIN), self._first_parameters()
        strategy = SharedAverage(self.federation.node_of, recipe, largest, noise=noise)
        schedule = Schedule(self._stage, self._rounds(), recipe.federation.patience, validated=recipe.validated)
        rounds = run_rounds(self.grid, self.federation, strategy, initial, self.run, schedule)
        best = rounds.watch.best or initial
        write_shared_model(self.run.shared, recipe, best, rounds.best_round)
        self._pretrained(rounds, self._stage)
        return rounds.records

    def _first_parameters(self) -> dict[str, Array]:
        """What the first round sends: the parameters of the earlier run's model, or of the untrained one."""
        items = self.journal.steps["vocabulary"]["items"] if "vocabulary" in self.journal.steps else 0
        untrained = algorithm_of(self.federation.recipe).build(items)
        first: dict[str, Array] = {name: value.numpy() for name, value in untrained.shared_state().items()}
        if self.warm_start is None:
            return first
        given = self.warm_start.parameters
        if {name: array.shape for name, array in given.items()} != {name: array.shape for name, array in first.items()}:
            raise RunError("the model to begin with has other parameters than this version's; train it again")
        return given

    def _market_noise(self, clip_norm: float) -> MarketNoise:
        (plan,) = set(self.plans.values())
        if plan.update is None:
            raise RunError("the privacy plan of this recipe has no room for a round")
        secret = SecretNoise(kept_secret(self.run.path / "secret"), self.run.path.name)
        return MarketNoise(clip_norm, plan.update, len(self.federation.markets), secret)

    def _rounds(self) -> int:
        """The recipe's rounds, or as many as the tightest market's privacy has room for."""
        rounds = self.federation.recipe.federation.rounds
        if self.plans:
            market, plan = min(self.plans.items(), key=lambda entry: (entry[1].rounds, entry[0]))
            if plan.rounds < rounds:
                rounds = plan.rounds
                self.run.event(
                    "stop", round=rounds, reason=f"the privacy budget of {market} ends after {rounds} rounds"
                )
        return rounds

    def _codebook(self) -> list[dict[str, Any]]:
        recipe = self.federation.recipe
        items = read_items(self.run.shared) if recipe.sends_keys else None
        rounds = codebook_rounds(self.grid, self.federation, self.run, items)
        best = rounds.watch.best or rounds.shared
        write_shared_model(self.run.codebook, recipe, best, rounds.best_round)
        self._pretrained(rounds, "codebook")
        return rounds.records

    def _pretrained(self, rounds: Rounds, stage: str) -> None:
        """Take note of what was chosen. A run with codes may have two stages: what is said of the first one stays."""
        self.run.event(
            "pretrained", best_round=rounds.best_round, rounds=len(rounds.records), decided_by=rounds.decided_by
        )
        before = self.journal.chosen
        first = [*before.get("kept_first", []), *([stage] if rounds.best_round == 0 else [])]
        self.journal.chosen = {
            "best_round": rounds.best_round,
            "decided_by": before.get("decided_by") or rounds.decided_by,
            "kept_first": first,
            "aggregates": rounds.watch.best_index,
            **({"validations": rounds.best_validations} if rounds.best_validations else {}),
        }

    def _for_all(self, shared: SharedModel) -> dict[str, ArrayRecord]:
        """The same parameters for every market."""
        return dict.fromkeys(self.federation.markets, array_record(shared.parameters))

    def _budgets(self) -> dict[str, ArrayRecord] | None:
        """How many rounds each local baseline may train, where the federation does not sample every market in each."""
        recipe = self.federation.recipe
        settings = recipe.federation
        federated = "federated" in recipe.evaluation.methods and self.start_from is None
        if settings.participation == 1 or not federated:
            return None
        counts = rounds_sampled(self.federation.markets, settings.participation, recipe.seed, settings.rounds)
        return {market: array_record({"rounds": np.array([count])}) for market, count in counts.items()}

    def _train_local(self, action: str) -> Scalars:
        return self._ask(action, self._budgets())

    def _ask(self, action: str, arrays: Mapping[str, ArrayRecord] | None = None, after_round: int = 0) -> Scalars:
        """One question to every market; scalars by market. A market that fails is left out and named."""
        self.run.event("stage", action=action, markets=self.federation.markets)
        results: Scalars = {}
        problems: dict[str, str] = {}
        answers = self.federation.ask(action, arrays, after_round=after_round)
        for market in self.federation.markets:
            answer = answers.get(market)
            if answer is None or answer.error is not None:
                problems[market] = (answer and answer.error) or "no reply"
            elif reason := reason_to_distrust(answer.payload, action):
                problems[market] = reason
            else:
                try:
                    results[market] = dict(answer.payload.scalars) | read_figures(answer.payload.arrays)
                except ValueError as error:
                    problems[market] = str(error)
        for market, reason in problems.items():
            named = f"{self.part}: {action}" if self.part else action
            self.journal.failed.append({"market": market, "action": named, "reason": reason})
            self.run.event("failed", action=action, market=market, reason=reason)
        if not results:
            market, reason = next(iter(problems.items()))
            raise RunError(f"{action} failed at every market; {market}: {reason}")
        self.run.event("stage_done", action=action, results=results if action != REPORT else {})
        return results
