"""Bundles that are not the installed version's: market code that lies, server code that can be held still."""

import zipfile
from io import BytesIO
from pathlib import Path

from fedrec.deployment.bundle import Bundle, _stored, own_bundle

VICTIM = "bravo"
HOLDS = "FEDREC_HOLDS"  # the environment variable that names the folder of requests to hold still

LIES = {
    "wrong round": '    reply.metadata.__dict__["_group_id"] = "7"\n',
    "too large": (
        "    if reply.has_content():\n"
        "        from flwr.app import Array, ArrayRecord\n"
        "        import numpy\n"
        '        reply.content["arrays"] = ArrayRecord({"x": Array(numpy.zeros(400_000))})\n'
    ),
    "raises": '    raise RuntimeError("user alfa-00003 bought item-7")\n',
}

_LIAR = """

_honest = app


def app(message, context):
    reply = _honest(message, context)
    asked = (context.node_config["market"], message.metadata.message_type, message.metadata.group_id)
    if asked != ("bravo", "train.pretrain", "2"):
        return reply
{lie}    return reply
"""

# A phase is held where FEDREC_HOLDS holds PHASE.wanted: it becomes PHASE.here, until somebody takes that away.
_HOLD = """

import os as _os
import time as _time
from pathlib import Path as _Path


def _hold(phase):
    wanted = _Path(_os.environ["FEDREC_HOLDS"]) / f"{phase}.wanted"
    if not wanted.exists():
        return
    here = wanted.rename(wanted.with_suffix(".here"))
    until = _time.monotonic() + 90
    while here.exists() and _time.monotonic() < until:
        _time.sleep(0.05)


def _held(owner, name, phase, when=lambda *arguments: True):
    original = getattr(owner, name)

    def replacement(self, *arguments, **options):
        if when(*arguments):
            _hold(phase)
        return original(self, *arguments, **options)

    setattr(owner, name, replacement)
"""

_HELD_SERVER = (
    _HOLD
    + """

from fedrec.strategies.shared_average import SharedAverage as _Strategy

_held(_Strategy, "configure_train", "configure", lambda server_round, *_: server_round == 2)
_held(_Strategy, "aggregate_train", "aggregate", lambda server_round, *_: server_round == 2)
_held(RunFolder, "checkpoint", "checkpoint", lambda checkpoint: checkpoint.round == 2)
"""
)

_HELD_CLIENT = (
    _HOLD
    + """

_honest = app


def app(message, context):
    if context.node_config["market"] == "bravo":
        if (message.metadata.message_type, message.metadata.group_id) == ("train.pretrain", "2"):
            _hold("train")
        if message.metadata.message_type == "evaluate.validate":
            _hold("evaluate")
    return _honest(message, context)
"""
)


def changed(additions: dict[str, str], replacements: dict[str, tuple[str, str]] | None = None) -> Bundle:
    """The installed version's bundle with code added to the end of some files, and words replaced in others."""
    from flwr.cli.build import build_fab_from_files

    with zipfile.ZipFile(BytesIO(own_bundle().data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if not name.startswith(".info")}
    for name, text in additions.items():
        files[name] += text.encode()
    for name, (old, new) in (replacements or {}).items():
        assert old.encode() in files[name], f"{name} has no {old!r}"
        files[name] = files[name].replace(old.encode(), new.encode())
    return Bundle(_stored(build_fab_from_files(files)[0]))


def lying(lie: str, replacements: dict[str, tuple[str, str]] | None = None) -> Bundle:
    """In round 2, market bravo's reply is not what it should be."""
    return changed({"fedrec/clients/app.py": _LIAR.format(lie=LIES[lie])}, replacements)


def holdable() -> Bundle:
    """Every phase of round 2 can be held still."""
    return changed({"fedrec/server/app.py": _HELD_SERVER, "fedrec/clients/app.py": _HELD_CLIENT})


def write(bundle: Bundle, folder: Path) -> Path:
    path = folder / f"{bundle.hash[:12]}.fab"
    path.write_bytes(bundle.data)
    return path
