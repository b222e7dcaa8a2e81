"""Keys and certificates, judged by OpenSSL and OpenSSH."""

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedrec.deployment.certificates import (
    Authority,
    private_matches,
    problem_of_server,
    public_pem,
    server_names,
)
from fedrec.errors import UserError
from fedrec.masking.identity import write_identity

HOSTS = ["fed.example.org", "10.1.2.3", "::1"]


@pytest.fixture
def issued(tmp_path: Path) -> Path:
    authority = Authority.create("test")
    authority.write(tmp_path / "ca.crt", tmp_path / "ca.key")
    authority.issue(HOSTS, tmp_path / "server.crt", tmp_path / "server.key")
    return tmp_path


def problem(folder: Path, **changed: object) -> str | None:
    given = {"certificate": folder / "server.crt", "key": folder / "server.key", "authority": folder / "ca.crt"}
    return problem_of_server(**{**given, "hosts": HOSTS, **changed})  # type: ignore[arg-type]


def test_openssl_believes_the_chain(issued: Path) -> None:
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.crt"]
    for host in (["-verify_hostname", HOSTS[0]], ["-verify_ip", HOSTS[1]], ["-verify_ip", HOSTS[2]]):
        result = subprocess.run(
            [*command, *host, "server.crt"], cwd=issued, capture_output=True, text=True, check=False
        )
        assert result.stdout == "server.crt: OK\n", result.stderr
    wrong = subprocess.run(
        [*command, "-verify_hostname", "evil.example.org", "server.crt"], cwd=issued, capture_output=True, check=False
    )
    assert wrong.returncode != 0
    assert problem(issued) is None
    assert server_names(issued / "server.crt") == HOSTS


def test_python_can_serve_with_it(issued: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued / "server.crt", issued / "server.key")


def test_private_keys_are_their_owners_alone(issued: Path) -> None:
    assert [(issued / name).stat().st_mode & 0o777 for name in ("ca.key", "server.key")] == [0o600, 0o600]


def test_problems_are_seen(issued: Path, tmp_path: Path) -> None:
    other = Authority.create("other")
    other.write(tmp_path / "other.crt", tmp_path / "other.key")
    assert problem(issued, authority=tmp_path / "other.crt") == f"not signed by {tmp_path / 'other.crt'}"
    assert problem(issued, key=tmp_path / "other.key") == f"{tmp_path / 'other.key'} is not its key"
    assert "does not name elsewhere" in str(problem(issued, hosts=["elsewhere"]))
    later = datetime.now(UTC) + timedelta(days=398)
    assert "expired on" in str(problem(issued, now=later))
    assert "is the clock right?" in str(problem(issued, now=datetime(2020, 1, 1, tzinfo=UTC)))
    with pytest.raises(UserError, match="not the key of"):
        Authority.read(issued / "ca.crt", tmp_path / "other.key")
    (issued / "server.crt").write_text("nonsense")
    with pytest.raises(UserError, match="not a certificate in PEM form"):
        problem(issued)


def test_openssh_derives_the_same_public_key(tmp_path: Path) -> None:
    write_identity(tmp_path / "node.key", tmp_path / "node.pub")
    derived = subprocess.run(
        ["ssh-keygen", "-y", "-f", tmp_path / "node.key"], capture_output=True, text=True, check=True
    ).stdout
    assert derived.split()[:2] == (tmp_path / "node.pub").read_text().split()[:2]
    assert private_matches(tmp_path / "node.key", tmp_path / "node.pub")
    write_identity(tmp_path / "second.key", tmp_path / "second.pub")
    assert not private_matches(tmp_path / "node.key", tmp_path / "second.pub")


def test_keys_made_by_openssh_are_taken_and_others_are_not(tmp_path: Path) -> None:
    def make(name: str, *kind: str) -> Path:
        command = ["ssh-keygen", "-q", "-N", "", "-C", "", "-f", str(tmp_path / name), "-t", *kind]
        subprocess.run(command, check=True)
        return tmp_path / f"{name}.pub"

    assert public_pem(make("good", "ecdsa", "-b", "384")).startswith("-----BEGIN PUBLIC KEY-----")
    for name, *kind in (("small", "ecdsa", "-b", "256"), ("edwards", "ed25519")):
        with pytest.raises(UserError, match="ssh-keygen -t ecdsa -b 384"):
            public_pem(make(name, *kind))
