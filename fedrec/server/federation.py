"""The markets of a run as the coordinator knows them: node, name, sizes. Found by asking every node."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid

from fedrec.errors import RunError, UserError
from fedrec.exchange.declaration import CODEBOOK, HELLO, PRETRAIN, REFIT, STATISTICS
from fedrec.exchange.lookup_table import MAX_CELLS
from fedrec.exchange.payload import PART
from fedrec.exchange.reply import reason_to_distrust
from fedrec.files import market_name
from fedrec.recipe import Recipe, recipe_json
from fedrec.strategies.records import Answer, content_bytes, instruction, read_answer

_POLL_SECONDS = 0.5
_HELLO_SECONDS = 60.0
_AGAIN_SECONDS = 5.0  # a node that was silent or refused may be another after a restart

OwnerOf = Callable[[int], str | None]  # the market whose key a node has proved; None where it is nobody's
Refusal = Callable[[str, int, str], None]  # market, node, reason


@dataclass(frozen=True)
class Member:
    """One market that answered."""

    node: int
    users: int
    items: int
    interactions: int | None  # None where the market keeps it
    has_text: bool
    has_families: bool
    device: str
    min_users: int  # nothing leaves it that fewer are behind, by its own word


@dataclass
class Traffic:
    """Bytes of the exchanges outside the rounds."""

    up: int = 0
    down: int = 0


class Federation:
    """Talks to every market; knows nothing of how they compute."""

    def __init__(self, grid: Grid, run: str, recipe: Recipe, owner_of: OwnerOf | None = None) -> None:
        self.grid = grid
        self.run = run
        self.recipe = recipe
        self._owner_of = owner_of
        self.on_refusal: Refusal = lambda _market, _node, _reason: None
        self.members: dict[str, Member] = {}
        self.traffic = Traffic()
        self.summed: list[str] | None = None  # over whom the last masked sum was opened; others stay out of the next
        self._strangers: set[int] = set()  # nodes that are none of the expected markets
        self._whole: Recipe | None = None  # of the run, where this is the federation of a part of it
        self._part = ""

    @property
    def markets(self) -> list[str]:
        """Names, sorted."""
        return sorted(self.members)

    @property
    def node_of(self) -> dict[str, int]:
        """Node of every market."""
        return {market: member.node for market, member in sorted(self.members.items())}

    def largest_weights(self, action: str) -> dict[str, float]:
        """What each market may weigh at most in a round of ``action``, by what it said at hello."""
        if action in {PRETRAIN, REFIT}:
            private = self.recipe.privacy.on
            return {
                market: float(member.users if private or member.interactions is None else member.interactions)
                for market, member in self.members.items()
            }
        if action == CODEBOOK:
            return {market: float(self.largest_catalogue(market)) for market in self.members}
        if action == STATISTICS:  # under masks: how many counts it adds to a table that all of them must hold
            return dict.fromkeys(self.members, float(MAX_CELLS // len(self.members)))
        return {}

    def largest_catalogue(self, market: str) -> int:
        """How many items a market can rank, by what was said at hello: its own, or where the union is ranked all.

        What it sells itself is :attr:`Member.items` at most.
        """
        if self.recipe.ranks_union:
            return sum(member.items for member in self.members.values())
        return self.members[market].items

    def count_traffic(self, sent: Iterable[Message], received: Iterable[Message]) -> None:
        """Add an exchange that went round ``ask`` to the traffic."""
        self.traffic.down += sum(map(content_bytes, sent))
        self.traffic.up += sum(map(content_bytes, received))

    def config(self, server_round: int = 0) -> ConfigRecord:
        """What every instruction carries."""
        part = {PART: self._part} if self._part else {}
        recipe = recipe_json(self._whole or self.recipe)
        return ConfigRecord({"run": self.run, "recipe": recipe, "round": str(server_round), **part})

    def part(self, name: str, recipe: Recipe) -> "Federation":
        """The same markets and the same count of traffic, for a part of the run with a recipe of its own."""
        part = copy(self)
        part.recipe, part._whole, part._part = recipe, self.recipe, name
        return part

    def discover(self, expected: list[str], deadline_seconds: float) -> None:
        """Wait until every expected market answers ``hello``.

        Raises :class:`RunError` when some never do, when one answers with an error, or when two claim one market.
        """
        until = time.monotonic() + deadline_seconds
        asked_at: dict[int, float] = {}
        while not set(expected) <= set(self.members):
            now = time.monotonic()
            known = {member.node for member in self.members.values()}
            absent = self._of_markets(expected, set(self.grid.get_node_ids()) - known)
            nodes = [node for node in absent if now - asked_at.get(node, -math.inf) > _AGAIN_SECONDS]
            asked_at |= dict.fromkeys(nodes, now)
            for answer, node in self._ask_nodes(nodes, min(_HELLO_SECONDS, max(until - time.monotonic(), 1.0))):
                if answer.gone:
                    continue  # it may be back before the deadline
                reason = answer.error or reason_to_distrust(answer.payload, HELLO)
                if reason:
                    owner = self._owner_of(node) if self._owner_of else None
                    raise RunError(f"{f'market {owner!r}' if owner else f'node {node}'} cannot take part: {reason}")
                self._welcome(answer, node)
            if not set(expected) <= set(self.members):
                if time.monotonic() > until:
                    missing = sorted(set(expected) - set(self.members))
                    raise RunError(f"markets {', '.join(missing)} did not answer within {deadline_seconds:.0f} s")
                time.sleep(_POLL_SECONDS)
        self.members = {market: self.members[market] for market in expected}

    def welcome_back(self) -> None:
        """Look for nodes that came since: a market whose own node is gone may answer from a new one.

        A newcomer that claims a market whose node is still there is left out, as is one that is no expected market.
        """
        present = set(self.grid.get_node_ids())
        unknown = present - {member.node for member in self.members.values()} - self._strangers
        arrived = self._of_markets(self.markets, unknown)
        for answer, node in self._ask_nodes(arrived, _HELLO_SECONDS) if arrived else []:
            if answer.error is not None:
                continue  # it may do better next time
            name = str(answer.payload.texts.get("market", ""))
            member = self.members.get(name)
            known = member is not None and member.node not in present
            if member is None or not known or reason_to_distrust(answer.payload, HELLO) or self._refused(name, node):
                self._strangers.add(node)
            else:
                self.members[name] = replace(member, node=node)

    def ask(
        self,
        action: str,
        arrays: Mapping[str, ArrayRecord] | None = None,
        texts: Mapping[str, list[str]] | None = None,
        after_round: int = 0,
        opened: ArrayRecord | None = None,
    ) -> dict[str, Answer]:
        """Ask every market to do ``action``; answers by market, errors included.

        A market that is silent until the recipe's deadline for stages is absent. ``after_round``: the round that the
        arrays were made in.
        """
        timeout = self.recipe.federation.stage_deadline_seconds
        config = self.config(after_round)
        messages = [
            instruction(member.node, action, after_round, config, arrays[market] if arrays else None, texts, opened)
            for market, member in sorted(self.members.items())
        ]
        replies = self._exchange(messages, timeout)
        answers = {}
        for market, member in sorted(self.members.items()):
            reply = replies.get(member.node)
            if reply is not None:
                answers[market] = read_answer(reply, market)
        return answers

    def ask_each(
        self, action: str, texts: Mapping[str, Mapping[str, list[str]]], server_round: int = 0
    ) -> dict[str, Answer]:
        """Ask some markets, each with texts of its own; answers by market, errors included."""
        messages = [
            instruction(self.members[market].node, action, server_round, self.config(server_round), None, own)
            for market, own in sorted(texts.items())
        ]
        settings = self.recipe.federation
        deadline = settings.deadline_seconds if server_round else settings.stage_deadline_seconds
        replies = self._exchange(messages, deadline)
        found = {market: replies.get(self.members[market].node) for market in sorted(texts)}
        return {market: read_answer(reply, market) for market, reply in found.items() if reply is not None}

    def require(
        self,
        action: str,
        arrays: Mapping[str, ArrayRecord] | None = None,
        texts: Mapping[str, list[str]] | None = None,
        opened: ArrayRecord | None = None,
    ) -> dict[str, Answer]:
        """As :meth:`ask`, where nothing can go on without every market: raises :class:`RunError` naming the first."""
        answers = self.ask(action, arrays, texts=texts, opened=opened)
        for market in self.markets:
            answer = answers.get(market)
            if answer is None or answer.error is not None:
                raise RunError(f"{action}: market {market!r} failed: {answer.error if answer else 'no reply'}")
        return answers

    def _ask_nodes(self, nodes: list[int], seconds: float) -> list[tuple[Answer, int]]:
        replies = self._exchange([instruction(node, HELLO, 0, self.config()) for node in nodes], timeout=seconds)
        return [(read_answer(replies[node], ""), node) for node in sorted(replies)]

    def _exchange(self, messages: list[Message], timeout: float | None) -> dict[int, Message]:
        replies = list(self.grid.send_and_receive(messages, timeout=timeout))
        self.count_traffic(messages, replies)
        return {reply.metadata.src_node_id: reply for reply in replies}

    def _of_markets(self, markets: list[str], nodes: set[int]) -> list[int]:
        """Where keys tell who is who, only the nodes of these markets: others are not asked, nor waited for."""
        return sorted(node for node in nodes if self._owner_of is None or self._owner_of(node) in markets)

    def _refused(self, market: str, node: int) -> bool:
        """Whether a node's claim to be a market is false; if so it is told on."""
        if self._owner_of is None or self._owner_of(node) == market:
            return False
        self.on_refusal(market, node, f"its key is not that of market {market!r}")
        return True

    def _welcome(self, answer: Answer, node: int) -> None:
        scalars, texts = answer.payload.scalars, answer.payload.texts
        missing = sorted({"users", "items", "has_text", "has_families"} - set(scalars))
        device = texts.get("device")
        if missing or not isinstance(device, str) or not device:
            raise RunError(f"node {node}: its hello says nothing of {', '.join(missing) or 'its device'}")
        try:
            name = market_name(str(texts.get("market", "")), f"node {node}")
        except UserError as error:
            raise RunError(str(error)) from None
        if self._refused(name, node):
            return
        users, items = int(scalars["users"]), int(scalars["items"])
        if users < 1 or items < 1:
            raise RunError(
                f"market {name!r}: its hello says {users} users and {items} items; it must have some of each"
            )
        most = self.recipe.federation.max_items
        if items > most:
            raise RunError(
                f"market {name!r}: {items} items; federation.max_items takes {most}, raise it if that is right"
            )
        if name in self.members:
            raise RunError(f"two nodes claim market {name!r}; give each node its own")
        self.members[name] = Member(
            node=node,
            users=users,
            items=items,
            interactions=int(scalars["interactions"]) if "interactions" in scalars else None,
            has_text=bool(scalars["has_text"]),
            has_families=bool(scalars["has_families"]),
            device=device,
            min_users=int(scalars.get("min_users", 1.0)),
        )
