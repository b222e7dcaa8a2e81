"""A server that lies about masked sums, by messages to the markets' real app: no two sums give up one market's own."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict

from fedrec.clients.app import app
from fedrec.data.synth import SynthSettings, write_synthetic_markets
from fedrec.exchange.payload import OPENED, TEXTS, Array
from fedrec.masking.following import OpenedSum, decoded, following
from fedrec.masking.identity import write_identity
from fedrec.masking.protocol import ANNOUNCED, Announcement, Terms, context_of, secrets_of, without_masks
from fedrec.masking.ring import Ring
from fedrec.models.sequential import build_model
from fedrec.privacy.noise import digest
from fedrec.recipe import Recipe, load_recipe, recipe_json
from fedrec.simulation.nodes import set_identity
from tests.conftest import QUICK

NAMES = ["alfa", "bravo", "charlie", "delta", "echo", "foxtrot", "golf"]
ACTION = "train.pretrain"
THRESHOLD = 5
Arrays = dict[str, Array]


def recipe(*overrides: str) -> Recipe:
    own = ["evaluation.protocol=temporal", "semantics.kind=hashing", "codes.alignment=layered", "masks.enabled=true"]
    return load_recipe("fecosr", [*QUICK, *own, "evaluation.methods=[federated]", *overrides])


def untrained(of: Recipe) -> Arrays:
    model = build_model(of.model, of.encoder, torch.zeros(0, of.semantics.dimension), of.loss.tau, of.seed)
    return {name: value.numpy().copy() for name, value in model.shared_state().items()}


def nudged(arrays: Arrays) -> Arrays:
    """One number moved by one float."""
    result = {name: np.array(array) for name, array in arrays.items()}
    first = result[min(result)]
    first.flat[0] = np.nextafter(first.flat[0], np.float32(9))
    return result


@dataclass
class Attempt:
    """What came of one sum, as far as it went."""

    terms: Terms
    announcements: dict[str, Announcement] = field(default_factory=dict)
    uploads: dict[str, Arrays] = field(default_factory=dict)
    shares: dict[str, dict[str, str]] = field(default_factory=dict)
    survivors: list[str] = field(default_factory=list)
    opened: OpenedSum | None = None
    refusals: dict[str, str] = field(default_factory=dict)


class Server:
    """Asks seven markets whatever it likes. ``state``: what the markets keep on their disks."""

    def __init__(self, data: Path, keys: Path, state: Path) -> None:
        self.configs = {
            name: {
                "market": name,
                "data-path": str(data),
                "state-path": str(state / name),
                "identity-key": str(keys / "own" / name),
                "market-keys": str(keys / "public"),
            }
            for name in NAMES
        }
        self.asked = 0

    def ask(
        self, node: str, kind: str, of: Recipe, number: int, run: str, arrays: Arrays | None = None, **more: Any
    ) -> Message:
        content = RecordDict({"config": ConfigRecord({"run": run, "recipe": recipe_json(of), "round": str(number)})})
        for name, values in (("arrays", arrays), (OPENED, more.pop("last", None))):
            if values is not None:
                content[name] = ArrayRecord({key: FlowerArray(np.asarray(value)) for key, value in values.items()})
        content[TEXTS] = ConfigRecord({name: list(value) for name, value in more.items()})
        message = Message(content, dst_node_id=1, message_type=kind, group_id=str(number))
        self.asked += 1
        message.metadata.__dict__["_message_id"] = f"lie {self.asked}"
        return app(message, Context(1, 1, dict(self.configs[node]), RecordDict(), {}))

    def sum(
        self,
        of: Recipe,
        number: int,
        base: Arrays,
        before: OpenedSum | None = None,
        survivors: list[str] = NAMES,
        run: str = "run",
        shift: int = 0,
        among: list[str] = NAMES,
        threshold: int = THRESHOLD,
    ) -> Attempt:
        """One masked round ``among`` some. ``shift``: added to the total whose digest the markets are told."""
        found = Attempt(Terms(run, ACTION, number))
        for name in among:
            texts = self._texts(found, name, self.ask(name, "query.mask_keys", of, number, run, action=[ACTION]))
            if texts:
                found.announcements[name] = Announcement(name, *(str(texts[part]) for part in ANNOUNCED))
        told = list(found.announcements.values())
        columns = {part: [getattr(one, part) for one in told] for part in ("market", *ANNOUNCED)}
        ciphers = {}
        for name in among:
            reply = self.ask(
                name, "query.mask_shares", of, number, run, action=[ACTION], threshold=[str(threshold)], **columns
            )
            ciphers[name] = {key.removeprefix("for."): text for key, text in self._texts(found, name, reply).items()}
        for name in among:
            others = [other for other in among if other != name]
            shares = {"members": others, "shares": [str(ciphers[other].get(name, "")) for other in others]}
            last = {**before.texts(), "last": before.sums} if before is not None else {}
            reply = self.ask(name, ACTION, of, number, run, base, **shares, **last)
            if reply.has_error():
                found.refusals.setdefault(name, reply.error.reason)
            else:
                arrays = reply.content.array_records["arrays"]
                found.uploads[name] = {key: array.numpy() for key, array in arrays.items()}
        return self.open(found, of, base, [name for name in survivors if name in among], shift, threshold)

    def open(
        self, found: Attempt, of: Recipe, base: Arrays, survivors: list[str], shift: int = 0, least: int = THRESHOLD
    ) -> Attempt:
        """Ask for the shares of a sum, and read it if enough of them come."""
        if not survivors or not set(survivors) <= set(found.uploads):
            return found
        totals: dict[str, Ring] = {}
        for name in survivors:
            for key, array in found.uploads[name].items():
                totals[key] = totals[key] + array if key in totals else np.array(array)
        promised = {key: total + total.dtype.type(shift) for key, total in totals.items()}
        for name in survivors:
            question = {"action": [ACTION], "survivors": survivors, "total": [digest(promised)]}
            reply = self.ask(name, "query.unmask", of, found.terms.round, found.terms.run, **question)
            texts = self._texts(found, name, reply)
            if texts:
                found.shares[name] = {key.removeprefix("of."): str(text) for key, text in texts.items()}
        if len(found.shares) >= least:
            sizes = {name: one.weight for name, one in found.announcements.items()}
            terms = replace(found.terms, context=context_of(recipe_json(of), base, [], sizes))
            secret = secrets_of(found.announcements, survivors, found.shares, least)
            sums = without_masks(totals, terms, found.announcements, survivors, secret)
            found.opened = OpenedSum(found.terms.round, survivors, sums, secret)
        found.survivors = survivors
        return found

    @staticmethod
    def _texts(found: Attempt, name: str, reply: Message) -> dict[str, Any]:
        if reply.has_error():
            found.refusals.setdefault(name, reply.error.reason)
            return {}
        return dict(reply.content.config_records["texts"])


def after(of: Recipe, base: Arrays, found: Attempt) -> Arrays:
    """The next parameters, as an honest server makes them."""
    assert found.opened is not None
    sizes = {name: float(one.weight) for name, one in found.announcements.items()}
    total = sum(sizes[name] for name in found.survivors) / sum(sizes.values())
    sums = decoded(found.opened.sums, len(NAMES), of)
    return following(of, found.terms.action, found.terms.round, base, {}, sums, total)[0]


def without(*names: str) -> list[str]:
    return [name for name in NAMES if name not in names]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    set_identity()
    folder = tmp_path_factory.mktemp("lying server")
    settings = SynthSettings(markets=tuple(NAMES), users=40, items=50, topics=5, seed=4, skew=0.95)
    write_synthetic_markets(folder / "data", settings)
    for name in NAMES:
        write_identity(folder / "keys" / "own" / name, folder / "keys" / "public" / f"{name}.pub")
    return folder / "data", folder / "keys"


@pytest.fixture
def server(hosts: tuple[Path, Path], tmp_path: Path) -> Server:
    return Server(*hosts, tmp_path)


def test_honest_rounds_follow_each_other_and_repetitions_are_the_same_bytes(server: Server) -> None:
    """As after a lost answer, or a coordinator that was killed between the sum and its checkpoint."""
    of, base = recipe(), untrained(recipe())
    first = server.sum(of, 1, base)
    again = server.sum(of, 1, base)
    assert first.opened is not None
    assert not first.refusals
    assert not again.refusals
    assert again.announcements == first.announcements
    assert again.shares == first.shares
    for name in NAMES:
        for key, array in first.uploads[name].items():
            np.testing.assert_array_equal(again.uploads[name][key], array)
    moved = after(of, base, first)
    second = server.sum(of, 2, moved, first.opened)
    assert second.opened is not None
    assert not second.refusals
    assert max(np.abs(moved[name] - base[name]).max() for name in base) > 1e-3  # something was learned
    third = server.sum(of, 1, base)  # so may a round before: of its keys nothing is left, but it is the same sum
    assert third.opened is not None
    for key, total in first.opened.sums.items():
        np.testing.assert_array_equal(third.opened.sums[key], total)
    assert server.sum(of, 2, moved, third.opened).opened is not None


@pytest.mark.parametrize("run", [pytest.param("run", marks=pytest.mark.slow), "another name"])
@pytest.mark.parametrize("moved", [False, True], ids=["the same", "one float"])
def test_one_market_less_is_no_other_sum_of_the_same_round(server: Server, run: str, moved: bool) -> None:
    """Of two sums of a round, over all and over all but one, the difference would be that one's update."""
    of, base = recipe(), untrained(recipe())
    assert server.sum(of, 1, base).opened is not None
    second = server.sum(of, 1, nudged(base) if moved else base, survivors=without("echo"), run=run)
    assert second.opened is None
    assert second.refusals
    assert set(second.refusals) >= set(without("echo"))


@pytest.mark.slow
def test_nor_are_two_markets_less_or_all_of_them_at_other_parameters(server: Server) -> None:
    of, base = recipe(), untrained(recipe())
    assert server.sum(of, 1, base).opened is not None
    for survivors in (without("echo", "golf"), NAMES):
        found = server.sum(of, 1, nudged(base), survivors=survivors, run="another")
        assert found.opened is None
        assert "was another sum before" in found.refusals["alfa"]
    clipped = recipe("update.clip_norm=0.1")  # just below the largest norm, what changes is one market's part
    found = server.sum(clipped, 1, base, run="clipped")
    assert "was another sum before" in found.refusals["alfa"]


def test_a_round_cannot_be_asked_again_as_the_next(server: Server) -> None:
    """On unchanged parameters, or nearly so, whatever is said of the sum before."""
    of, base = recipe(), untrained(recipe())
    first = server.sum(of, 1, base)
    assert first.opened is not None
    nothing = {name: np.zeros_like(total) for name, total in first.opened.sums.items()}
    for start in (base, nudged(base)):
        for before, words in (
            (None, "nothing came of the sum of round 1"),
            (first.opened, "do not follow from the sum of round 1"),
            (replace(first.opened, sums=nothing), "is not the sum that was opened"),
            (replace(first.opened, over=without("echo", "golf")), "does not fit what it announced"),
            (replace(first.opened, round=0), "had no part in a last sum of round 0"),
        ):
            found = server.sum(of, 2, start, before, survivors=without("echo", "golf"))
            assert found.opened is None
            assert all(words in found.refusals[name] for name in NAMES), found.refusals


@pytest.mark.slow
def test_forgetting_a_round_does_not_make_it_the_next(server: Server) -> None:
    """Asking an earlier round again makes a market drop what it kept of later ones, but not that they were opened."""
    of, base = recipe(), untrained(recipe())
    first = server.sum(of, 1, base)
    moved = after(of, base, first)
    second = server.sum(of, 2, moved, first.opened)
    assert second.opened is not None
    for name in NAMES:
        server.ask(name, "query.mask_keys", of, 1, "run", action=[ACTION])
    assert server.sum(of, 3, base, survivors=without("echo", "golf")).opened is None
    assert server.sum(of, 3, moved, first.opened, survivors=without("echo", "golf")).opened is None


def test_a_server_does_not_choose_what_the_sum_will_have_been(server: Server) -> None:
    """It tells a total before it knows the masks; another one does not come out as anything it could use."""
    of, base = recipe(), untrained(recipe())
    found = server.sum(of, 1, base, shift=1000)
    assert found.opened is not None  # it can be wrong about the total: then nothing follows from it
    honest = server.sum(of, 2, after(of, base, found), found.opened)
    assert "is not the sum that was opened" in honest.refusals["alfa"]


def test_the_first_round_begins_with_what_the_recipe_says(server: Server) -> None:
    """Parameters of the server's choice could silence all markets but one."""
    of = recipe()
    crafted = {name: np.zeros_like(array) for name, array in untrained(of).items()}
    found = server.sum(of, 1, crafted)
    assert all("do not follow from the recipe" in reason for reason in found.refusals.values())
    assert set(found.refusals) == set(NAMES)


def test_one_market_does_not_leave_alone(server: Server) -> None:
    """After a sum over seven, six of them tell one from all others; two may leave together, and stay away."""
    of, base = recipe(), untrained(recipe())
    first = server.sum(of, 1, base)
    moved = after(of, base, first)
    six = server.sum(of, 2, moved, first.opened, survivors=without("echo"))
    assert six.opened is None
    assert all("would tell market 'echo' from all others" in six.refusals[name] for name in without("echo"))
    five = server.sum(of, 3, moved, first.opened, survivors=without("echo", "golf"))
    assert five.opened is not None
    onward = after(of, moved, five)
    back = server.sum(of, 4, onward, five.opened)
    assert back.opened is not None  # together they tell nobody apart


@pytest.mark.slow
def test_another_seed_is_another_sum_over_the_same_markets_or_two_less(server: Server) -> None:
    """So that a federation can be trained with another seed on the same data, and still nobody is told apart."""
    assert server.sum(recipe(), 1, untrained(recipe())).opened is not None
    other = recipe("seed=1")
    assert server.sum(other, 1, untrained(other), run="second", survivors=without("echo")).opened is None
    third = recipe("seed=2")
    assert server.sum(third, 1, untrained(third), run="third").opened is not None


@pytest.mark.slow
def test_sums_of_few_that_have_no_market_in_common_are_refused(server: Server) -> None:
    """The seven, and two disjoint groups of them on nearly the same parameters: what is left is one market's own."""
    of = recipe()
    assert server.sum(of, 1, untrained(of)).opened is not None
    for number, group in enumerate((NAMES[:3], NAMES[4:])):
        other = recipe(f"training.learning_rate={1e-3 + 1e-9 * (number + 1):.10f}")
        found = server.sum(other, 1, untrained(other), run=f"group-{number}", among=group, threshold=3)
        assert found.opened is None
        assert "this node asks for 4" in found.refusals[group[0]]


def test_what_some_were_not_in_the_others_tell_them(server: Server) -> None:
    """Sums without three pairs leave one market over in a sum of all, which it alone could know."""
    runs = [without("alfa", "bravo"), without("charlie", "delta"), without("echo", "foxtrot")]
    opened = []
    for number, group in enumerate([*runs, NAMES]):
        of = recipe(f"seed={number}")
        opened.append(server.sum(of, 1, untrained(of), run=f"run-{number}", among=group).opened is not None)
    assert not all(opened)
    assert opened[0]


@pytest.mark.slow
def test_sums_under_way_at_once_are_not_opened_both(server: Server) -> None:
    """What was told of sums before holds for one sum at a time."""
    first, second = recipe(), recipe("seed=1")
    begun = server.sum(first, 1, untrained(first), survivors=[])
    assert begun.opened is None
    assert server.sum(second, 1, untrained(second), run="second", survivors=without("echo", "golf")).opened is not None
    late = server.open(begun, first, untrained(first), NAMES)
    assert late.opened is None
    assert "another sum was begun since" in late.refusals["alfa"]


@pytest.mark.parametrize(
    "override",
    ["federation.weights=uniform", pytest.param("federation.weights=square_root", marks=pytest.mark.slow)],
)
def test_the_same_data_are_not_summed_by_other_weights(server: Server, override: str) -> None:
    """Seven weightings of nearly the same seven updates would be seven equations."""
    of, other = recipe(), recipe(override, "seed=1")
    assert server.sum(of, 1, untrained(of)).opened is not None
    found = server.sum(other, 1, untrained(other), run="other")
    assert found.opened is None
    assert "by other weights" in found.refusals["alfa"]


def test_a_sum_that_nobody_opened_says_nothing_of_the_next_parameters(server: Server) -> None:
    """All have masked, and none was told a total: made-up secrets do not stand for masks."""
    of, base = recipe(), untrained(recipe())
    closed = server.sum(of, 1, base, survivors=[])
    assert closed.opened is None
    assert set(closed.uploads) == set(NAMES)
    nothing = {name: np.zeros_like(array) for name, array in closed.uploads["alfa"].items()}
    for secret in ("00", "", "zz"):
        made_up = OpenedSum(1, NAMES, nothing, dict.fromkeys(NAMES, secret))
        zeros = {name: np.zeros_like(array) for name, array in base.items()}
        found = server.sum(of, 2, zeros, made_up)
        assert found.opened is None
        assert "does not fit what it announced" in found.refusals["alfa"]


@pytest.mark.slow
def test_rounds_do_not_go_backwards(server: Server) -> None:
    of, base = recipe(), untrained(recipe())
    assert server.sum(of, 3, base).opened is not None
    for number in (2, 1, 0, -1):
        found = server.sum(of, number, base)
        assert found.opened is None
        assert any("later ones" in reason or "nothing was" in reason for reason in found.refusals.values())
