"""Keys and certificates of the cluster: three authorities, and a certificate for each use."""

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.cluster import layout

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 365
RENEWED_BEFORE = dt.timedelta(days=30)
PRIVATE = 0o600


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What a certificate says: whose it is, who signs it, where it serves."""

    name: str
    common_name: str
    authority: str = "ca"
    organization: str = ""
    addresses: Sequence[str] = ()
    """IP addresses and DNS names; empty for one that only clients use."""
    client: bool = True


AUTHORITIES = ("ca", "etcd-ca", "front-proxy-ca")
CERTIFICATES = (
    Certificate(
        name="apiserver",
        common_name="kube-apiserver",
        client=False,
        addresses=(
            layout.HOST,
            layout.KUBERNETES_SERVICE,
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            f"kubernetes.default.svc.{layout.DNS_DOMAIN}",
        ),
    ),
    Certificate(name="apiserver-kubelet", common_name="kube-apiserver-kubelet-client"),
    Certificate(name="apiserver-etcd", common_name="kube-apiserver", authority="etcd-ca"),
    Certificate(name="etcd", common_name="etcd", authority="etcd-ca", addresses=(layout.HOST,)),
    Certificate(name="front-proxy", common_name="front-proxy-client", authority="front-proxy-ca"),
    Certificate(name="admin", common_name="lab-admin", organization="system:masters"),
    Certificate(name="control-plane", common_name="control-plane", addresses=(layout.HOST,), client=False),
    Certificate(
        name="metrics-serving",
        common_name="metrics-server",
        addresses=(layout.HOST, "metrics-server.kube-system.svc"),
        client=False,
    ),
    Certificate(
        name="kubelet-serving",
        common_name=f"system:node:{layout.CPU_NODE}",
        organization="system:nodes",
        addresses=(layout.NODE, layout.CPU_NODE),
        client=False,
    ),
    Certificate(name="kubelet", common_name=f"system:node:{layout.CPU_NODE}", organization="system:nodes"),
    Certificate(name="kube-controller-manager", common_name="system:kube-controller-manager"),
    Certificate(name="kube-scheduler", common_name="system:kube-scheduler"),
    Certificate(name="kube-proxy", common_name="system:kube-proxy"),
    Certificate(name="coredns", common_name="lab:coredns"),
    Certificate(name="metrics-server", common_name="lab:metrics-server"),
    Certificate(name="kwok", common_name="lab:kwok"),
    Certificate(name="agent", common_name="lab:agent"),
)


def ensure(folder: Path, now: dt.datetime | None = None) -> set[str]:
    """Every key and certificate is in `folder` and good for 30 more days; the names of those made or renewed.

    A new authority renews all that it signed. Service-account keys never change: tokens of running pods hang on them.
    """
    now = now or dt.datetime.now(dt.UTC)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = {name for name in AUTHORITIES if not _good(folder / f"{name}.crt", now)}
    for name in made:
        _make_authority(folder, name, now)
    for certificate in CERTIFICATES:
        if certificate.authority in made or not _good(folder / f"{certificate.name}.crt", now):
            _make_certificate(folder, certificate, now)
            made.add(certificate.name)
    if not (folder / "service-accounts.key").exists():
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        _write(folder / "service-accounts.pub", public)
        _write(folder / "service-accounts.key", _pem(key))
    return made


def _good(path: Path, now: dt.datetime) -> bool:
    if not path.exists() or not path.with_suffix(".key").exists():
        return False
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc - now > RENEWED_BEFORE


def _make_authority(folder: Path, name: str, now: dt.datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{layout.NAME} {name}")])
    builder = _builder(subject, subject, key.public_key(), now, AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    _save(folder, name, key, builder.sign(key, hashes.SHA256()))


def _make_certificate(folder: Path, certificate: Certificate, now: dt.datetime) -> None:
    issuer = x509.load_pem_x509_certificate((folder / f"{certificate.authority}.crt").read_bytes())
    issuer_key = _load_key(folder / f"{certificate.authority}.key")
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.COMMON_NAME, certificate.common_name)]
    if certificate.organization:
        names.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, certificate.organization))
    builder = _builder(x509.Name(names), issuer.subject, key.public_key(), now, CERTIFICATE_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH] if certificate.client else []
    if certificate.addresses:
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
        names_served = x509.SubjectAlternativeName([_general_name(address) for address in certificate.addresses])
        builder = builder.add_extension(names_served, critical=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    _save(folder, certificate.name, key, builder.sign(issuer_key, hashes.SHA256()))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    # A minute back: a clock that is corrected while the lab starts must not make certificates of the future.
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _load_key(path: Path) -> CertificateIssuerPrivateKeyTypes:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} holds no elliptic-curve key, and the lab writes no other kind for an authority")
    return key


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _save(folder: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    _write(folder / f"{name}.key", _pem(key))
    _write(folder / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM))


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and never readable by others."""
    fresh = path.with_name(f".{path.name}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE), "wb") as file:
        file.write(content)
    fresh.replace(path)
