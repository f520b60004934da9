"""Certificate authorities with which RDS signs the certificates of its databases, one in each region."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

NAME = "rds-ca-rsa2048-g1"
"""Authority of the database, valid until 2061 (RDS user guide, "Certificate authorities")."""
FILE = Path(__file__).with_suffix(".pem")
"""Roots of NAME by AWS's list of all regions (truststore.pki.rds.amazonaws.com/global/global-bundle.pem)."""


def root(region: str) -> str | None:
    """Return the root certificate of the region as PEM; None for a region that FILE lacks."""
    wanted = f"CN=Amazon RDS {region} Root CA RSA2048 G1"
    for certificate in x509.load_pem_x509_certificates(FILE.read_bytes()):
        if wanted in (part.rfc4514_string() for part in certificate.subject.rdns):
            return certificate.public_bytes(Encoding.PEM).decode()
    return None
