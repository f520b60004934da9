"""Certificates: valid for long, renewed in time, never weaker than needed."""

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from lab.cluster import pki

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
EVERYTHING = {*pki.AUTHORITIES, *(certificate.name for certificate in pki.CERTIFICATES)}


def read(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())


def is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError):
        return False
    key = authority.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert pki.ensure(tmp_path, NOW) == EVERYTHING
    return tmp_path


def test_each_certificate_is_signed_by_its_authority_and_good_for_a_year(folder: Path) -> None:
    for wanted in pki.CERTIFICATES:
        made = read(folder, wanted.name)
        made.verify_directly_issued_by(read(folder, wanted.authority))
        assert made.not_valid_before_utc <= NOW
        assert made.not_valid_after_utc - NOW == dt.timedelta(days=365)


def test_asking_again_changes_nothing(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert pki.ensure(folder, NOW + dt.timedelta(days=300)) == set()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_certificates_near_their_end_are_renewed_and_authorities_stay(folder: Path) -> None:
    authority, tokens = read(folder, "ca"), (folder / "service-accounts.key").read_bytes()
    later = NOW + dt.timedelta(days=340)
    assert pki.ensure(folder, later) == EVERYTHING - set(pki.AUTHORITIES)
    assert read(folder, "apiserver").not_valid_after_utc - later == dt.timedelta(days=365)
    assert read(folder, "ca") == authority
    assert (folder / "service-accounts.key").read_bytes() == tokens


def test_a_new_authority_renews_all_that_it_signed_and_no_more(folder: Path) -> None:
    (folder / "etcd-ca.key").unlink()
    assert pki.ensure(folder, NOW) == {"etcd-ca", "etcd", "apiserver-etcd"}
    assert is_signed_by(read(folder, "etcd"), read(folder, "etcd-ca"))


def test_an_etcd_certificate_opens_no_door_of_the_api_server(folder: Path) -> None:
    assert not is_signed_by(read(folder, "apiserver-etcd"), read(folder, "ca"))


def test_keys_can_be_read_by_their_owner_alone(folder: Path) -> None:
    assert {path.stat().st_mode & 0o077 for path in folder.glob("*.key")} == {0}


def test_the_api_server_is_known_by_every_name_that_pods_use(folder: Path) -> None:
    names = read(folder, "apiserver").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"kubernetes", "kubernetes.default.svc"} <= set(names.get_values_for_type(x509.DNSName))
    assert {"172.31.77.1", "10.96.0.1"} == {str(address) for address in names.get_values_for_type(x509.IPAddress)}


def test_only_the_administrator_is_a_master(folder: Path) -> None:
    masters = [c.name for c in pki.CERTIFICATES if "system:masters" in read(folder, c.name).subject.rfc4514_string()]
    assert masters == ["admin"]
