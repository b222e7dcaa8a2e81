"""The bundle is the same wherever it is made, and consent is to its bytes."""

import ast
import hashlib
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

import fedrec
from fedrec.cli.main import app, exit_code
from fedrec.deployment import coordinator_worker, market_worker
from fedrec.deployment.bundle import Bundle, approve, differences, own_bundle, read_approved, read_bundle
from fedrec.errors import UserError
from tests.deployment.bundles import changed

ROOT = Path(fedrec.__file__).parents[1]


def test_every_process_makes_the_same_bytes(tmp_path: Path) -> None:
    """Other hash seed, other folder."""
    code = "from fedrec.deployment.bundle import own_bundle; print(own_bundle().hash)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONHASHSEED": "77", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split()[-1] == own_bundle().hash == hashlib.sha256(own_bundle().data).hexdigest()


def test_it_holds_the_code_and_nothing_else() -> None:
    names = set(own_bundle().contents())
    tracked = subprocess.run(
        ["git", "ls-files", "fedrec"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    if tracked:  # a checkout
        code = {name for name in tracked if name.endswith((".py", ".yaml"))}
        assert code <= names
    assert {name.rpartition(".")[2] for name in names} == {"py", "yaml", "toml", "json"}
    with zipfile.ZipFile(BytesIO(own_bundle().data)) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}, "no library's own bytes"
        assert all(entry.date_time == archive.infolist()[0].date_time for entry in archive.infolist())


def test_differences_are_named() -> None:
    assert differences(own_bundle(), own_bundle()) == []
    other = changed({"fedrec/clients/tasks.py": "\n# one line more\n"})
    assert other.hash != own_bundle().hash
    assert differences(other, own_bundle()) == ["fedrec/clients/tasks.py"]


def test_other_bytes_around_the_same_files_need_a_second_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an archive holds twice, its readers may not read alike."""
    approved = tmp_path / "part" / "consent" / "approved.txt"
    approved.parent.mkdir(parents=True)
    (tmp_path / "part" / "connection.yaml").touch()
    data = BytesIO(own_bundle().data)
    with zipfile.ZipFile(data, "a") as archive:
        archive.comment = b"not what it was"
    (tmp_path / "x.fab").write_bytes(data.getvalue())
    arguments = ["deploy", "approve", str(tmp_path / "part"), "--bundle", str(tmp_path / "x.fab")]
    assert exit_code(lambda: app(arguments, standalone_mode=False)) == 1
    assert "no file, but in the archive around them" in capsys.readouterr().out
    assert read_approved(approved) == set()


def test_consent(tmp_path: Path) -> None:
    path = tmp_path / "consent" / "approved.txt"
    assert read_approved(path) == set()
    assert approve(path, own_bundle(), "a note")
    assert not approve(path, own_bundle(), "again")
    assert approve(path, Bundle(b"other"), "another")
    assert read_approved(path) == {own_bundle().hash, hashlib.sha256(b"other").hexdigest()}
    path.write_text(f"{own_bundle().hash}\n# no newline here")
    assert approve(path, Bundle(b"third"), "not into the comment")
    assert hashlib.sha256(b"third").hexdigest() in read_approved(path)
    path.write_text(f"# a comment\n\n{own_bundle().hash}\n")
    assert read_approved(path) == {own_bundle().hash}
    path.write_text(own_bundle().hash[:12] + "\n")
    with pytest.raises(UserError, match=r"line 1: '[0-9a-f]{12}' is no SHA-256"):
        read_approved(path)


def test_what_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "x.fab").write_bytes(b"PK nonsense")
    with pytest.raises(UserError, match=r"x\.fab: not a bundle"):
        read_bundle(tmp_path / "x.fab")


@pytest.mark.parametrize("module", [market_worker, coordinator_worker])
def test_workers_import_nothing_that_is_installed_of_us(module: object) -> None:
    """Otherwise a bundle's `fedrec` would be the installed one, already in memory."""
    tree = ast.parse(Path(str(module.__file__)).read_text())  # type: ignore[attr-defined]
    imported = {
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not {name for name in imported if name.split(".")[0] in {"fedrec", ""}}


def packed(sources: dict[str, bytes]) -> bytes:
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as stream:
        for name, data in sources.items():
            stream.writestr(name, data)
    return archive.getvalue()


def test_a_damaged_bundle_is_none(tmp_path: Path) -> None:
    """Whichever byte is wrong: either it is none, in words, or its contents are read."""
    whole = packed({"a/b.py": b"one = 1\n" * 40, "pyproject.toml": b"[project]\n" * 9})
    refused = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        path = tmp_path / "damaged.fab"
        path.write_bytes(damaged)
        try:
            read_bundle(path)
        except UserError as error:
            refused += str(error).startswith(f"{path}: not a bundle (")
    assert refused > len(whole) / 4


def test_a_small_file_that_unpacks_to_a_large_one_is_none() -> None:
    with pytest.raises(UserError, match="unpacked it has more than 50 MB"):
        Bundle(packed({"zeros.py": bytes(60_000_000)})).contents()
