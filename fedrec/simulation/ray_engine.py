"""Engine ``ray``: the same apps under Flower's simulation engine, in Ray actors on this machine or on a cluster.

Flower's engine has three habits that a long run cannot live with; they are mended here, in a subclass of its actor
pool and around its apps: a dead actor goes back into the pool and fails every message it is given (here it is replaced
and the market named), node configurations are partition numbers (here each is given its market's), and a client that
hangs is waited for for ever (here its actor ends itself after the deadline).
"""

import json
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import ray
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.server.superlink.fleet.vce.backend import raybackend
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation
from flwr.simulation.ray_transport.ray_actor import BasicActorPool

from fedrec.errors import RunError, UserError
from fedrec.exchange.declaration import MASK_KEYS, MASK_SHARES, ROUNDS, UNMASK
from fedrec.files import write_json
from fedrec.progress import OnReply
from fedrec.recipe import Recipe
from fedrec.simulation.nodes import RUN_ID, NodeConfig
from fedrec.simulation.wire import OffWireGrid, off_wire

_PARTITION = "partition-id"
_NODE_CONFIGS = "node_configs.json"
_POLL_SECONDS = 0.2
_END_SECONDS = 30.0
_HUNG = 75  # exit code of an actor that missed its deadline


class ActorLostError(Exception):
    """The process that computed for a market is gone."""


class ReplacingPool(BasicActorPool):
    """Flower's pool, but a dead actor is replaced instead of being given the next market, and ``ended`` is obeyed.

    After ``ended`` no thread of Flower's may touch Ray: it would start a new Ray behind the one that was shut down, or
    wait for ever for an actor that the interruption killed.
    """

    def __init__(self, *args: Any, ended: threading.Event, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._ended = ended

    def submit(self, actor_fn: Any, job: Any) -> Any:
        """Give the job to an idle actor; raises :class:`ActorLostError` after the run's end."""
        self._check_goes_on()
        return super().submit(actor_fn, job)

    def fetch_result_and_return_actor_to_pool(self, future: Any) -> tuple[Message, Context]:
        """The answer; raises :class:`ActorLostError` when the actor died over it, or the run ended."""
        self._check_goes_on()
        while not ray.wait([future], timeout=_POLL_SECONDS)[0]:
            self._check_goes_on()
        try:
            return super().fetch_result_and_return_actor_to_pool(future)
        except ray.exceptions.RayActorError:
            self._check_goes_on()
            # Flower's backend puts the future's actor back into the pool next: let that be a new one.
            self._future_to_actor[future] = self.create_actor_fn()  # type: ignore[no-untyped-call]
            reason = "the Ray actor that served this market died, or missed the deadline; it was replaced"
            raise ActorLostError(reason) from None

    def _check_goes_on(self) -> None:
        if self._ended.is_set():
            raise ActorLostError("the run has ended")


def run_on_ray(
    lead: Callable[[Grid, Mapping[str, str]], None],
    node_configs: Sequence[NodeConfig],
    config: Mapping[str, str],
    recipe: Recipe,
    wire: Path,
    on_reply: OnReply,
    client_app: Any,
) -> None:
    """Lead a run with one Flower node per node config. Raises what the coordinator raises."""
    server_app = ServerApp()
    grids: list[OffWireGrid] = []

    @server_app.main()
    def main(grid: Grid, _context: Context) -> None:
        names: dict[int, str] = {}

        def heard(reply: Message) -> None:
            if reply.has_content() and "texts" in reply.content.config_records:
                name = reply.content.config_records["texts"].get("market")
                if isinstance(name, str):
                    names[reply.metadata.src_node_id] = name
            on_reply(names.get(reply.metadata.src_node_id, "?"), reply.metadata.message_type)

        grids.append(OffWireGrid(grid, wire, heard))
        lead(grids[0], config)

    ended = threading.Event()

    def stop() -> None:
        """Tell the coordinator's thread and Flower's that no more answers will come."""
        ended.set()
        for grid in grids:
            grid.stopped.set()

    os.environ.setdefault("RAY_worker_niceness", "0")  # its default, 15, leaves the actors last in every queue
    write_json(
        wire / _NODE_CONFIGS,
        {"node_configs": [[dict(one.config), one.interactions] for one in node_configs]},
    )
    options = recipe.ray
    init_args: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    if options.address is not None:
        init_args["address"] = options.address
    resources = {"num_cpus": options.cpus, "num_gpus": options.gpus}
    with _mended(ended), _quiet():
        try:
            _interruptible(
                run_simulation,
                stop,
                server_app=server_app,
                client_app=_Seated(client_app, wire, recipe),
                num_supernodes=len(node_configs),
                backend_config={"init_args": init_args, "client_resources": resources},
            )
        except RuntimeError as error:
            raise _in_words(error, recipe) from error
        finally:
            stop()
            ray.shutdown()
            (wire / _NODE_CONFIGS).unlink(missing_ok=True)


def _interruptible(function: Callable[..., None], stop: Callable[[], None], **arguments: Any) -> None:
    """Call in a thread and wait in short steps: Flower's engine waits in a way that no Ctrl-C reaches.

    An interruption calls ``stop`` and gives the engine a while to end what its actors are computing.
    """
    raised: list[BaseException] = []
    returned = threading.Event()  # not Thread.join: Python 3.11 takes a thread whose join was interrupted for dead

    def call() -> None:
        try:
            function(**arguments)
        except BaseException as error:
            raised.append(error)
        finally:
            returned.set()

    threading.Thread(target=call, daemon=True).start()
    try:
        while not returned.wait(_POLL_SECONDS):
            pass
    except KeyboardInterrupt:
        stop()
        returned.wait(_END_SECONDS)
        raise
    if raised:
        raise raised[0]


@cache
def _node_configs(path: Path) -> list[NodeConfig]:
    """The markets of the run, read once in every actor."""
    return [NodeConfig(*one) for one in json.loads(path.read_text(encoding="utf-8"))["node_configs"]]


class _Seated(ClientApp):
    """The markets' app with the node configuration that Flower's simulation cannot carry, and with a deadline.

    Ray pickles it again for every message, so node configs stay on disk.
    """

    def __init__(self, app: Any, wire: Path, recipe: Recipe) -> None:
        super().__init__()
        self._app = app
        self._wire = wire
        self._settings = recipe.federation

    def __call__(self, message: Message, context: Context) -> Message:
        node_config = _node_configs(self._wire / _NODE_CONFIGS)[int(str(context.node_config[_PARTITION]))]
        own = node_config.context(context.node_id)
        own.run_id = context.run_id or RUN_ID
        with _ending_after(self._deadline(message.metadata.message_type, message.metadata.group_id)):
            return off_wire(self._app, self._wire)(message, own)

    def _deadline(self, action: str, server_round: str) -> float | None:
        """Seconds as the coordinator counts them: masks belong to the round that they are for."""
        of_round = action in ROUNDS or (action in {MASK_KEYS, MASK_SHARES, UNMASK} and server_round != "0")
        return self._settings.deadline_seconds if of_round else self._settings.stage_deadline_seconds


@contextmanager
def _ending_after(seconds: float | None) -> Iterator[None]:
    """End this process when the block takes longer: nothing else stops a client that hangs in foreign code."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, os._exit, args=(_HUNG,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _mended(ended: threading.Event) -> Iterator[None]:
    """Flower's engine with our pool, until the run has ``ended``."""
    name = "BasicActorPool"
    original = getattr(raybackend, name)
    setattr(raybackend, name, partial(ReplacingPool, ended=ended))
    try:
        yield
    finally:
        setattr(raybackend, name, original)


@contextmanager
def _quiet() -> Iterator[None]:
    """Flower's and Ray's own logs say nothing that our events do not."""
    loggers = [logging.getLogger(name) for name in ("flwr", "ray")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _in_words(error: RuntimeError, recipe: Recipe) -> Exception:
    """The cause under Flower's "simulation crashed"."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = " ".join(str(cause).split())
    if "ActorPool is empty" in text:
        return UserError(
            f"ray.cpus {recipe.ray.cpus:g}, ray.gpus {recipe.ray.gpus:g}: no host of the cluster can hold one client; "
            "ask for less"
        )
    if isinstance(cause, ConnectionError):
        return UserError(f"ray.address {recipe.ray.address!r}: no Ray cluster found there ({text:.100}); start one")
    return RunError(f"Ray's simulation engine failed: {type(cause).__name__}: {text:.200}")
