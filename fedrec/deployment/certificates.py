"""The certificates and node keys of a deployment, made and examined. Nothing here talks to a network.

One certificate authority signs the certificates of servers; markets are known by keys (ECDSA P-384, OpenSSH's form, as
Flower's node authentication wants them), not by certificates.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedrec.errors import UserError
from fedrec.files import write_atomic

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397  # the longest that common clients accept
_LONGEST_NAME = 64  # of a subject, by X.520
_SKEW = timedelta(minutes=5)  # hosts' clocks differ


@dataclass(frozen=True)
class Authority:
    """A certificate authority with its private key in memory."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, name: str, now: datetime | None = None) -> "Authority":
        """A fresh authority that may sign servers and nothing else."""
        key = ec.generate_private_key(ec.SECP384R1())
        name = name[:_LONGEST_NAME]
        builder = _builder(name, name, key.public_key(), AUTHORITY_DAYS, now)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        return cls(builder.sign(key, hashes.SHA384()), key)

    @classmethod
    def read(cls, certificate: Path, key: Path) -> "Authority":
        """An authority from its files; raises :class:`UserError` where they do not belong together."""
        read, private = read_certificate(certificate), _read_private(key)
        if private.public_key() != read.public_key():
            raise UserError(f"{key}: not the key of {certificate}; put the right one beside it")
        return cls(read, private)

    def write(self, certificate: Path, key: Path) -> None:
        """Write certificate (0644) and key (0600)."""
        write_atomic(certificate, self.certificate.public_bytes(Encoding.PEM))
        write_atomic(key, _private_pem(self.key), mode=0o600)

    def issue(self, hosts: Sequence[str], certificate: Path, key: Path, now: datetime | None = None) -> None:
        """A fresh key and certificate for a server that is reached under ``hosts`` (names and IP addresses)."""
        private = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(hosts[0], _common_name(self.certificate), private.public_key(), SERVER_DAYS, now)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(server, critical=False)
        names = x509.SubjectAlternativeName([_host(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        write_atomic(certificate, builder.sign(self.key, hashes.SHA384()).public_bytes(Encoding.PEM))
        write_atomic(key, _private_pem(private), mode=0o600)


def read_certificate(path: Path) -> x509.Certificate:
    """A certificate from its PEM file."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError:
        raise UserError(f"{path}: not a certificate in PEM form; make it again with `fedrec deploy init`") from None


def problem_of_server(
    certificate: Path, key: Path, authority: Path, hosts: Sequence[str], now: datetime | None = None
) -> str | None:
    """Why clients would refuse this server's certificate today, or None."""
    issued, root = read_certificate(certificate), read_certificate(authority)
    try:
        issued.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return f"not signed by {authority}"
    if _read_private(key).public_key() != issued.public_key():
        return f"{key} is not its key"
    named = server_names(certificate)
    unnamed = [host for host in hosts if host not in named]
    if unnamed:
        return f"does not name {unnamed[0]}; it names {', '.join(named)}"
    return problem_of_dates(issued, now)


def problem_of_dates(certificate: x509.Certificate, now: datetime | None = None) -> str | None:
    """Whether a certificate is out of date, or None."""
    moment = now or datetime.now(UTC)
    if moment > certificate.not_valid_after_utc:
        return f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if moment < certificate.not_valid_before_utc:
        return f"not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; is the clock right?"
    return None


def server_names(path: Path) -> list[str]:
    """The names and addresses that a server's certificate is for."""
    names = read_certificate(path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def days_left(certificate: x509.Certificate, now: datetime | None = None) -> int:
    """Whole days until a certificate expires; negative where it has."""
    return (certificate.not_valid_after_utc - (now or datetime.now(UTC))).days


def public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """A market's public node key from OpenSSH's form; raises :class:`UserError` for anything but ECDSA P-384."""
    try:
        key = load_ssh_public_key(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; copy keys/ from the deployment") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UserError(
            f"{path}: not a public key in OpenSSH's form; make one with `ssh-keygen -t ecdsa -b 384`"
        ) from None
    return _p384(key, path)


def public_pem(path: Path) -> str:
    """A market's public node key in the form in which a SuperLink keeps it."""
    return public_key(path).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_matches(private: Path, public: Path) -> bool:
    """Whether a private node key belongs to a public one."""
    try:
        key = load_ssh_private_key(private.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UserError(f"{private}: not an OpenSSH private key without passphrase; make it again") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UserError(f"{private}: not an ECDSA key; make it with `ssh-keygen -t ecdsa -b 384`")
    return key.public_key() == public_key(public)


def _p384(key: object, path: Path) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise UserError(f"{path}: not an ECDSA P-384 key; make one with `ssh-keygen -t ecdsa -b 384`")
    return key


def _read_private(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UserError(f"{path}: not a private key in PEM form without passphrase; make it again") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UserError(f"{path}: not an elliptic-curve key; make it again")
    return key


def _builder(
    subject: str, issuer: str, key: ec.EllipticCurvePublicKey, days: int, now: datetime | None
) -> x509.CertificateBuilder:
    moment = now or datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject[:_LONGEST_NAME])]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _SKEW)
        .not_valid_after(moment + timedelta(days=days))
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _common_name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
