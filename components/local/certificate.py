"""Certificate of a server in the cluster that is made from a password both sides know."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

FROM, UNTIL = dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2126, 1, 1, tzinfo=dt.UTC)
"""Validity; it does not depend on the day, so a preview without a change has no difference."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Certificate that signs itself, with its key; both as PEM."""

    certificate: str
    """Certificate, which is also the authority that clients trust."""
    key: str
    """Private key."""


@cache
def from_password(password: str, hosts: tuple[str, ...]) -> Certificate:
    """Return a certificate for the hosts; equal arguments return the same certificate, so no state keeps its key.

    Who reads the certificate can test a guess of the password. Each guess takes 32 MiB of memory and about 0.1 s.
    """
    seed = hashlib.scrypt(password.encode(), salt=hosts[0].encode(), n=2**15, r=8, p=1, maxmem=2**26, dklen=40)
    # A private key is a number below the order of the curve. 40 bytes make each of them about equally likely.
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    key = ec.derive_private_key(int.from_bytes(seed) % (order - 1) + 1, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hosts[0])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(hashlib.sha256(seed).digest()[:16]) + 1)
        .not_valid_before(FROM)
        .not_valid_after(UNTIL)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    return Certificate(
        certificate=certificate.public_bytes(Encoding.PEM).decode(),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )
