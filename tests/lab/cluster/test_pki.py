"""Certificates: valid for long, renewed in time, never weaker than needed."""

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab import files
from lab.cluster import layout, pki
from lab.cluster.component import Certificate, load

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)


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


def wanted() -> list[Certificate]:
    return [certificate for component in load() for certificate in component.certificates]


def ensure(now: dt.datetime = NOW) -> set[str]:
    return pki.ensure(wanted(), now)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAB_STATE", str(tmp_path))
    assert ensure() == {each.name for each in wanted()}
    return layout.pki()


def test_each_certificate_is_signed_by_its_authority_and_good_for_a_year(folder: Path) -> None:
    for each in wanted():
        made = read(folder, each.name)
        made.verify_directly_issued_by(read(folder, each.authority))
        assert made.not_valid_before_utc <= NOW
        assert made.not_valid_after_utc - NOW == dt.timedelta(days=365)


def test_asking_again_changes_nothing(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    assert ensure(NOW + dt.timedelta(days=300)) == set()
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


def test_certificates_near_their_end_are_renewed_and_authorities_stay(folder: Path) -> None:
    authority, tokens = read(folder, "ca"), (folder / "service-accounts.key").read_bytes()
    later = NOW + dt.timedelta(days=340)
    assert ensure(later) == {each.name for each in wanted()}
    assert read(folder, "apiserver").not_valid_after_utc - later == dt.timedelta(days=365)
    assert read(folder, "ca") == authority
    assert (folder / "service-accounts.key").read_bytes() == tokens


def test_a_new_authority_renews_all_that_it_signed_and_no_more(folder: Path) -> None:
    (folder / "etcd-ca.key").unlink()
    assert ensure() == {"etcd", "apiserver-etcd"}
    assert is_signed_by(read(folder, "etcd"), read(folder, "etcd-ca"))


def test_an_etcd_certificate_opens_no_door_of_the_api_server(folder: Path) -> None:
    assert not is_signed_by(read(folder, "apiserver-etcd"), read(folder, "ca"))


def test_keys_and_tokens_can_be_read_by_their_owner_alone(folder: Path) -> None:
    assert {path.stat().st_mode & 0o077 for path in folder.rglob("*") if path.is_file()} == {0}


def test_the_api_server_is_known_by_every_name_that_pods_use(folder: Path) -> None:
    names = read(folder, "apiserver").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"kubernetes", "kubernetes.default.svc"} <= set(names.get_values_for_type(x509.DNSName))
    assert {"172.31.77.1", "10.96.0.1"} == {str(address) for address in names.get_values_for_type(x509.IPAddress)}


def test_only_the_administrator_is_a_master(folder: Path) -> None:
    masters = [c.name for c in wanted() if "system:masters" in read(folder, c.name).subject.rfc4514_string()]
    assert masters == ["admin"]


def test_an_authority_of_an_older_lab_is_replaced_and_the_tokens_of_pods_stay_valid(folder: Path) -> None:
    tokens = (folder / "service-accounts.key").read_bytes()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mlops-lab ca")])
    old = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    old = old.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + dt.timedelta(days=3650))
    old = old.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = serialization.Encoding.PEM
    (folder / "ca.crt").write_bytes(old.sign(key, hashes.SHA256()).public_bytes(pem))
    (folder / "ca.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    assert ensure() == {each.name for each in wanted() if each.authority == "ca"}
    assert (folder / "service-accounts.key").read_bytes() == tokens
    assert ensure() == set()


def test_an_interrupted_renewal_leaves_no_certificate_of_another_key(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, content: bytes) -> None:
        if path.name == "kubelet.crt":
            raise KeyboardInterrupt
        files.write(path, content)

    (folder / "kubelet.crt").unlink()
    monkeypatch.setattr(pki, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ensure()
    monkeypatch.undo()
    monkeypatch.setenv("LAB_STATE", str(folder.parent.parent))
    assert ensure() == {"kubelet"}
    key = serialization.load_pem_private_key((folder / "kubelet.key").read_bytes(), None)
    assert key.public_key() == read(folder, "kubelet").public_key()
