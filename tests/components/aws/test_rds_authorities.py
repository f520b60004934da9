"""Roots of RDS: each is what it says, and none is of another kind."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from components.aws import rds_authorities


def test_each_root_signs_itself_and_outlives_the_databases() -> None:
    roots = x509.load_pem_x509_certificates(rds_authorities.FILE.read_bytes())
    for root in roots:
        root.verify_directly_issued_by(root)
        assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert root.not_valid_after_utc.year >= 2061
        key = root.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        assert key.key_size == 2048
    assert len({root.subject for root in roots}) == len(roots)


@pytest.mark.parametrize("region", ["eu-west-1", "eu-central-1", "us-east-1", "ap-southeast-2"])
def test_a_region_has_its_own_root(region: str) -> None:
    root = x509.load_pem_x509_certificate((rds_authorities.root(region) or "").encode())
    assert f"CN=Amazon RDS {region} Root CA RSA2048 G1" in root.subject.rfc4514_string()


def test_a_region_without_a_root_is_distinguished() -> None:
    assert rds_authorities.root("eu-west-11") is None
    assert rds_authorities.root("eu-west") is None
