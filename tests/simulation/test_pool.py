"""What a pool of workers does when these die, hang or have no room; workers are objects here, and time stands still."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import pytest
from flwr.app import Message, RecordDict

from fedrec.errors import RunError
from fedrec.simulation import pool
from fedrec.simulation.nodes import NodeConfig
from fedrec.simulation.pool import LostError, PoolGrid, Worker, deal

Trouble = Callable[["FakeWorker", Message], None]


class FakeWorker(Worker):
    """Answers at once, unless ``trouble`` raises."""

    def __init__(self, node_configs: Mapping[int, NodeConfig], trouble: Trouble) -> None:
        self.trouble = trouble
        self.begun = self.ended = 0
        super().__init__(node_configs)

    def start(self) -> None:
        self.begun += 1
        self.asked: Message | None = None

    def end(self) -> None:
        self.ended += 1

    def send(self, message: Message) -> None:
        self.asked = message

    def receive(self) -> Message | None:
        if self.asked is None:
            return None
        self.trouble(self, self.asked)
        return Message(RecordDict(), reply_to=self.asked)


class FakeGrid(PoolGrid[FakeWorker]):
    """``room``: for how many workers there is room once one has died."""

    def __init__(self, sizes: Sequence[int], workers: int, trouble: Trouble, room: int | None = None) -> None:
        self.trouble, self.room = trouble, room
        self.heard: list[tuple[str, str]] = []
        configs = [NodeConfig({"market": f"m{index}"}, size) for index, size in enumerate(sizes)]
        super().__init__(configs, workers, lambda market, action: self.heard.append((market, action)))

    def _worker(self, node_configs: Mapping[int, NodeConfig]) -> FakeWorker:
        return FakeWorker(node_configs, self.trouble)

    def _spoken(self, workers: Sequence[FakeWorker], seconds: float | None) -> Iterable[FakeWorker]:
        return [workers[0]]

    def _close(self) -> None:
        for worker in self._workers:
            worker.end()

    def _room(self) -> int:
        return len(self._workers) if self.room is None else self.room

    def _has_no_place(self, worker: FakeWorker) -> bool:
        return worker.begun > 1 and self._room() < len(self._workers)

    def ask(self, timeout: float | None = None) -> dict[str, str]:
        """What every market said: nothing, or its error."""
        messages = [Message(RecordDict(), node, "train.round") for node in self.node_configs]
        replies = self.send_and_receive(messages, timeout=timeout)
        named = {self.node_configs[reply.metadata.src_node_id].market: reply for reply in replies}
        return {name: reply.error.reason if reply.has_error() else "" for name, reply in sorted(named.items())}


def once(market: int, error: Exception) -> Trouble:
    """Of one market, the first time it is asked."""
    left = [error]

    def trouble(_: FakeWorker, message: Message) -> None:
        if message.metadata.dst_node_id == 1001 + market and left:
            raise left.pop()

    return trouble


def nothing(_: FakeWorker, message: Message) -> None:
    """Goes wrong."""


def test_largest_markets_first_to_the_least_loaded() -> None:
    """Sizes 9, 7, 6, 5, 2 over two workers: 9; 7; 7+6; 9+5; 13+2 against 14."""
    node_configs = {node: NodeConfig({"market": str(node)}, size) for node, size in enumerate((5, 9, 2, 7, 6))}
    assert deal(node_configs, 2) == [[1, 0], [3, 4, 2]]
    assert deal(node_configs, 9) == [[1], [3], [4], [0], [2]]


def test_everybody_answers_and_is_heard_of_the_largest_first() -> None:
    with FakeGrid([1, 3, 2], 1, nothing) as grid:
        assert grid.ask() == {"m0": "", "m1": "", "m2": ""}
        assert [market for market, _ in grid.heard] == ["m1", "m2", "m0"]


def test_one_that_dies_is_named_and_replaced() -> None:
    with FakeGrid([1, 3, 2], 2, once(1, LostError("exit code 9"))) as grid:
        said = grid.ask()
        assert said == {
            "m0": "",
            "m1": "the worker process of market 'm1' died (exit code 9); it was replaced",
            "m2": "",
        }
        assert sorted(worker.begun for worker in grid._workers) == [1, 2]
        assert grid.ask() == {"m0": "", "m1": "", "m2": ""}


def test_where_there_is_no_room_its_markets_move() -> None:
    """To the worker with the least to do, with what was still waiting; the next round has all of them."""
    with FakeGrid([4, 3, 2, 1], 2, once(0, LostError("its host is gone")), room=1) as grid:
        said = grid.ask()
        assert said.pop("m0").endswith("died (its host is gone); its markets moved to others")
        assert said == {"m1": "", "m2": "", "m3": ""}
        assert len(grid._workers) == 1
        assert len(grid._workers[0].node_configs) == 4
        assert grid.ask() == {"m0": "", "m1": "", "m2": "", "m3": ""}


def test_one_whose_place_is_lost_while_it_starts_gives_its_markets_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host may be known to be lost a while after the worker on it was: another is started, and waits for a place."""
    now = [0.0]
    monkeypatch.setattr(pool.time, "monotonic", lambda: now[0])

    class Losing(FakeGrid):
        def _spoken(self, workers: Sequence[FakeWorker], seconds: float | None) -> Iterable[FakeWorker]:
            placed = [worker for worker in workers if worker.begun == 1]
            if placed:
                return placed[:1]
            now[0] += seconds or 0.0
            if now[0] > 20:
                self.room = 1
            return []

    with Losing([2, 1], 2, once(0, LostError("its host is gone"))) as grid:
        assert "died" in grid.ask()["m0"]
        assert grid.ask() == {"m0": "", "m1": ""}
        assert 20 < now[0] < 30


def test_the_last_one_cannot_move_anywhere() -> None:
    grid = FakeGrid([1, 1], 1, once(0, LostError("its host is gone")), room=0)
    with pytest.raises(RunError, match="no worker is left"):
        grid.ask()


@pytest.mark.parametrize(
    ("cards", "asked", "expected"), [(2, 0.6, 2), (2, 0.5, 4), (1, 0.3, 3), (4, 2, 2), (0, 0.5, 0), (0, 0, 8)]
)
def test_actors_share_a_card_but_are_on_no_two_halves(cards: float, asked: float, expected: int) -> None:
    pytest.importorskip("ray")
    from fedrec.recipe.settings import RaySettings
    from fedrec.simulation.ray_engine import places

    assert places({"CPU": 8.0, "GPU": cards}, RaySettings(gpus=asked)) == expected


def test_one_that_takes_too_long_is_ended_and_stays_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(pool.time, "monotonic", lambda: now[0])

    class Hanging(FakeGrid):
        def _spoken(self, workers: Sequence[FakeWorker], seconds: float | None) -> Iterable[FakeWorker]:
            first = workers[0]
            if first.asked is not None and first.asked.metadata.dst_node_id == 1001 and not first.ended:
                now[0] += seconds or 0.0
                return []
            return [first]

    with Hanging([2, 1], 1, nothing) as grid:
        assert grid.ask(timeout=5.0) == {"m1": ""}
        assert now[0] == 5.0
        assert grid._workers[0].ended == 1
        assert grid.ask(timeout=5.0) == {"m0": "", "m1": ""}


def test_one_that_never_starts_fails_all_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def unborn(worker: FakeWorker, _: Message) -> None:
        """Not reached: it is never ready."""

    class Unborn(FakeGrid):
        def _spoken(self, workers: Sequence[FakeWorker], seconds: float | None) -> Iterable[FakeWorker]:
            now[0] += seconds or 0.0
            return []

    now = [0.0]
    monkeypatch.setattr(pool.time, "monotonic", lambda: now[0])
    with Unborn([1, 1], 1, unborn) as grid:
        said = grid.ask()
        assert set(said) == {"m0", "m1"}
        assert all("did not start in 300 s" in reason for reason in said.values())
