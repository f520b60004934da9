"""Keys, certificates and tokens of the cluster."""

import datetime as dt
import secrets
from collections.abc import Iterable

import trustme
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from lab.cluster import layout
from lab.cluster.component import Certificate, crt, key
from lab.files import write

TOKEN_USER = "lab:network-policies"
VALID = dt.timedelta(days=365)
RENEWED_BEFORE = dt.timedelta(days=30)


def ensure(certificates: Iterable[Certificate], now: dt.datetime | None = None) -> set[str]:
    """Issue certificates that are missing or valid for less than 30 days, and return their names.

    A new authority issues all its certificates again. The key that signs the tokens of service accounts never changes,
    because running pods have such tokens.
    """
    now = now or dt.datetime.now(dt.UTC)
    layout.pki().mkdir(parents=True, exist_ok=True, mode=0o700)
    wanted = list(certificates)
    authorities = {name: _authority(name) for name in dict.fromkeys(each.authority for each in wanted)}
    stale = [each for each in wanted if not _is_good(each, now)]
    for each in stale:
        _issue(each, authorities[each.authority], now)
    signing = layout.pki() / "service-accounts.key"
    if not signing.exists():
        write(signing, trustme.CA(key_type=trustme.KeyType.RSA).private_key_pem.bytes())
    _ensure_token()
    return {each.name for each in stale}


def _authority(name: str) -> trustme.CA:
    """Return the authority of this name, created once. One without key identifier, of an older lab, is replaced."""
    try:
        found = trustme.CA.from_pem(crt(name).read_bytes(), key(name).read_bytes())
        _read(name).extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except (FileNotFoundError, x509.ExtensionNotFound):
        found = trustme.CA(organization_name=layout.NAME, organization_unit_name=name)
        _save(name, found.cert_pem, found.private_key_pem)
    return found


def _is_good(wanted: Certificate, now: dt.datetime) -> bool:
    if not crt(wanted.name).exists() or not key(wanted.name).exists():
        return False
    found = _read(wanted.name)
    try:
        found.verify_directly_issued_by(_read(wanted.authority))
    except (InvalidSignature, ValueError, TypeError):
        return False
    return found.not_valid_after_utc - now > RENEWED_BEFORE


def _issue(wanted: Certificate, authority: trustme.CA, now: dt.datetime) -> None:
    issued = authority.issue_cert(
        # Go programs refuse a certificate without a server name, even from a client.
        *(wanted.addresses or (wanted.name,)),
        common_name=wanted.user,
        organization_name=wanted.group,
        # If the clock is set back while the lab starts, the certificate must be valid already.
        not_before=now - dt.timedelta(minutes=1),
        not_after=now + VALID,
    )
    _save(wanted.name, issued.cert_chain_pems[0], issued.private_key_pem)


def _ensure_token() -> None:
    """Create the token of kube-network-policies, which cannot use a certificate, and register it for the API server."""
    access = layout.pki() / "network-policies"
    if not (access / "token").exists():
        write(access / "token", secrets.token_hex(32))
    write(access / "ca.crt", crt("ca").read_bytes())
    write(layout.pki() / "tokens.csv", f"{(access / 'token').read_text()},{TOKEN_USER},{TOKEN_USER}\n")


def _read(name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(crt(name).read_bytes())


def _save(name: str, certificate: trustme.Blob, private_key: trustme.Blob) -> None:
    """Write a certificate and its key. An interruption never leaves a certificate with another one's key."""
    crt(name).unlink(missing_ok=True)
    write(key(name), private_key.bytes())
    write(crt(name), certificate.bytes())
