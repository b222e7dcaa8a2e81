"""A run from first question to summary, as the coordinator sees it."""

import resource
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from flwr.serverapp import Grid

from fedrec.errors import RunError
from fedrec.exchange.declaration import FINETUNE, LOCAL, LOCAL_SHARED, REPORT
from fedrec.exchange.payload import Array
from fedrec.exchange.reply import reason_to_distrust
from fedrec.models.sequential import build_model
from fedrec.recipe import Recipe, resolve_protocol
from fedrec.runs.folder import RunFolder
from fedrec.runs.summary import build_summary
from fedrec.semantics.cooccurrence import CooccurrenceSemantics
from fedrec.semantics.factory import make_semantics, resolve_kind
from fedrec.threads import single_threaded
from server.federation import Federation
from server.rounds import Pretrained, run_rounds
from server.semantics import exchange_semantics
from strategies.records import array_record
from strategies.shared_average import SharedAverage


class Coordinator:
    """Leads one run. ``expected`` names the markets it waits for."""

    def __init__(self, grid: Grid, run: RunFolder, recipe: Recipe, deadline_seconds: float = 120) -> None:
        self.grid = grid
        self.run = run
        self.deadline_seconds = deadline_seconds
        self.federation = Federation(grid, run.path.name, recipe)
        self.seconds: dict[str, float] = {}
        self.failed: list[dict[str, str]] = []
        self._clock = time.perf_counter()

    def lead(self, expected: list[str], engine: str, dataset: str) -> dict[str, Any]:
        """Run every stage the recipe's methods need; write and return the summary."""
        with single_threaded():
            return self._lead(expected, engine, dataset)

    def _lead(self, expected: list[str], engine: str, dataset: str) -> dict[str, Any]:
        started = time.perf_counter()
        self.federation.discover(expected, self.deadline_seconds)
        self._resolve()
        recipe = self.federation.recipe
        if recipe.trains:
            self._share_semantics()
        self._lap("setup")
        pretrained = None
        if "federated" in recipe.evaluation.methods:
            pretrained = self._pretrain()
        self._lap("federate")
        if pretrained is not None:
            record = array_record(pretrained.shared)
            self._stage(FINETUNE, dict.fromkeys(self.federation.markets, record))
        if "local" in recipe.evaluation.methods:
            self._stage(LOCAL)
        if "local_shared_semantics" in recipe.evaluation.methods:
            self._stage(LOCAL_SHARED)
        self._lap("finetune")
        results = self._stage(REPORT)
        self._lap("evaluate")
        self.seconds["total"] = time.perf_counter() - started
        summary = build_summary(
            recipe=recipe,
            engine=engine,
            dataset=dataset,
            members={market: asdict(member) for market, member in self.federation.members.items()},
            results=results,
            failed=self.failed,
            rounds=pretrained.rounds if pretrained else [],
            other_bytes=(self.federation.traffic.up, self.federation.traffic.down),
            seconds=self.seconds,
            peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        )
        self.run.write_summary(summary)
        self.run.event("finished", seconds=self.seconds["total"])
        return summary

    def _resolve(self) -> None:
        """Replace every ``auto`` by what the markets allow, so that all of them do the same."""
        recipe = self.federation.recipe
        members = self.federation.members.values()
        protocol = resolve_protocol(recipe.evaluation.protocol, all(member.has_families for member in members))
        kind = resolve_kind(recipe.semantics.kind, all(member.has_text for member in members))
        self.federation.recipe = recipe.model_copy(
            update={
                "evaluation": recipe.evaluation.model_copy(update={"protocol": protocol}),
                "semantics": recipe.semantics.model_copy(update={"kind": kind}),
            }
        )
        self.run.write_recipe(self.federation.recipe)
        self.run.event("started", markets=self.federation.markets, protocol=protocol, semantics=kind)

    def _share_semantics(self) -> None:
        recipe = self.federation.recipe
        semantics = make_semantics(recipe, recipe.semantics.kind)
        needed = {"federated", "local_shared_semantics"} & set(recipe.evaluation.methods)
        if isinstance(semantics, CooccurrenceSemantics) and needed:
            self.run.event("semantics", **exchange_semantics(self.federation, semantics))

    def _pretrain(self) -> Pretrained:
        recipe = self.federation.recipe
        strategy = SharedAverage(self.federation.node_of, recipe.federation, recipe.seed)
        empty = torch.zeros(0, recipe.semantics.dimension)
        model = build_model(recipe.model, empty, recipe.loss.tau, recipe.seed)
        initial: dict[str, Array] = {name: value.numpy() for name, value in model.shared_state().items()}
        pretrained = run_rounds(self.grid, self.federation, strategy, initial, self.run)
        self.run.write_shared_model(pretrained.shared)
        self.run.event("pretrained", best_round=pretrained.best_round, rounds=len(pretrained.rounds))
        return pretrained

    def _stage(self, action: str, arrays: Mapping[str, Any] | None = None) -> dict[str, dict[str, float]]:
        """One question to every market; scalars by market. A market that fails is left out and named."""
        self.run.event("stage", action=action, markets=self.federation.markets)
        results, problems = {}, {}
        answers = self.federation.ask(action, arrays)
        for market in self.federation.markets:
            answer = answers.get(market)
            if answer is None or answer.error is not None:
                problems[market] = (answer and answer.error) or "no reply"
            elif reason := reason_to_distrust(answer.payload, action):
                problems[market] = reason
            else:
                results[market] = dict(answer.payload.scalars)
        for market, reason in problems.items():
            self.failed.append({"market": market, "action": action, "reason": reason})
            self.run.event("failed", action=action, market=market, reason=reason)
        if not results:
            market, reason = next(iter(problems.items()))
            raise RunError(f"{action} failed at every market; {market}: {reason}")
        self.run.event("stage_done", action=action, results=results if action != REPORT else {})
        return results

    def _lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._clock
        self._clock = now
