"""The bundle: the code of a run, as it travels from the coordinator to every market, and consent to it.

It is made of the installed packages, from a checkout and from a wheel alike, and the same version makes the same bytes:
a market that has installed fedrec itself can compare. What an operator approved stands in a text file, a hash a line.
"""

import hashlib
import re
import zipfile
import zlib
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import tomli_w

from fedrec.components.plugins import LISTING, files_of, listing, read_plugin
from fedrec.errors import UserError
from fedrec.files import write_atomic
from fedrec.version import VERSION

PACKAGES = ("fedrec",)
SETTINGS = ("recipe", "run", "markets", "keys", "dataset")  # what a run is told, all texts
_DESCRIPTION = "pyproject.toml"
_MANIFEST = ".info/CONTENT"
_LARGEST = 50_000_000  # bytes of all files; ours have a fortieth of that
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, RuntimeError, NotImplementedError)
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Bundle:
    """A Flower App Bundle as bytes."""

    data: bytes

    @property
    def hash(self) -> str:
        """SHA-256 of the bytes, in hexadecimal: what is approved."""
        return hashlib.sha256(self.data).hexdigest()

    def contents(self) -> dict[str, str]:
        """SHA-256 by file name, read from the files themselves. Raises :class:`UserError` for what is no bundle."""
        try:
            with zipfile.ZipFile(BytesIO(self.data)) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > _LARGEST:
                    raise ValueError(f"unpacked it has more than {_LARGEST // 10**6} MB")
                names = sorted(set(archive.namelist()) - {_MANIFEST})
                return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in names}
        except _DAMAGED as error:
            raise UserError(f"not a bundle ({error}); `fedrec deploy bundle FILE` makes one") from None


@cache
def own_bundle(plugins: tuple[str, ...] = ()) -> Bundle:
    """The bundle of the packages installed here; ``plugins``: distributions whose components it brings along.

    Raises :class:`UserError` for a distribution that is not installed, and for one that would replace our own files.
    """
    from flwr.cli.build import build_fab_from_files

    brought = [read_plugin(name) for name in sorted(set(plugins))]
    files = {name: data for plugin in brought for name, data in plugin.files}
    taken = sorted({name.partition("/")[0] for name in files} & {*PACKAGES, *(f"{package}.py" for package in PACKAGES)})
    if taken:
        raise UserError(f"plugin package {taken[0]!r}: has the name of one of fedrec's own; rename it")
    app = {
        "publisher": "fedrec",
        "fab-include": [*(f"{package}/**" for package in PACKAGES), *sorted(files), LISTING],
        "components": {"serverapp": "fedrec.server.app:app", "clientapp": "fedrec.clients.app:app"},
        "config": dict.fromkeys(SETTINGS, ""),
    }
    project = {"name": "fedrec", "version": VERSION, "license": "Apache-2.0"}
    description = {"project": project, "tool": {"flwr": {"app": app}}}
    contents = {_DESCRIPTION: tomli_w.dumps(description).encode(), LISTING: listing(brought), **files}
    for package in PACKAGES:
        contents |= files_of(package)
    data, _ = build_fab_from_files(contents)
    return Bundle(_stored(data))


def _stored(data: bytes) -> bytes:
    """The same archive without compression, whose bytes are another library's business."""
    result = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as archive, zipfile.ZipFile(result, "w", zipfile.ZIP_STORED) as stored:
        for entry in archive.infolist():
            plain = zipfile.ZipInfo(entry.filename, entry.date_time)
            plain.create_system, plain.external_attr = 3, 0o644 << 16
            stored.writestr(plain, archive.read(entry))
    return result.getvalue()


def differences(bundle: Bundle, own: Bundle) -> list[str]:
    """Names of files in which a bundle differs from ``own``, made of what is installed here; empty where none do."""
    ours, theirs = own.contents(), bundle.contents()
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def read_bundle(path: Path) -> Bundle:
    """A bundle from a file; raises :class:`UserError` where it is none."""
    bundle = Bundle(path.read_bytes())
    try:
        bundle.contents()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return bundle


def read_approved(path: Path) -> set[str]:
    """Hashes of the approved bundles; a missing file approves none. Raises :class:`UserError` for any other line."""
    if not path.is_file():
        return set()
    approved = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        word = line.partition("#")[0].strip()
        if word and not _HASH.fullmatch(word):
            raise UserError(f"{path}, line {number}: {word!r} is no SHA-256; use `fedrec deploy approve`")
        if word:
            approved.add(word)
    return approved


def approve(path: Path, bundle: Bundle, note: str) -> bool:
    """Add a bundle to the approved ones; False where it was among them."""
    if bundle.hash in read_approved(path):
        return False
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    before += "" if before.endswith("\n") or not before else "\n"
    write_atomic(path, f"{before}{bundle.hash}  # {note}\n".encode())
    return True
