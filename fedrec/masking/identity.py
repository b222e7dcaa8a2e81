"""Node keys for simulations: what `ssh-keygen -t ecdsa -b 384` makes on the hosts of a deployment."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fedrec.files import write_atomic


def write_identity(private: Path, public: Path) -> None:
    """A fresh pair of keys in OpenSSH's form; one that is there already is left as it is."""
    if private.is_file() and public.is_file():
        return
    key = ec.generate_private_key(ec.SECP384R1())
    write_atomic(private, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), mode=0o600)
    write_atomic(public, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n")
