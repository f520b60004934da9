"""Certificates made from a password, in real TLS handshakes."""

import socket
import ssl
import threading
from pathlib import Path

import pytest

from components.local.certificate import Certificate, from_password

PASSWORD, HOSTS = "0123456789-password", ("postgres.mlops-platform", "postgres")


def handshake(folder: Path, server: Certificate, *, trusted: str, host: str) -> None:
    """Connect as a client that accepts only `host` and certificates signed by `trusted`."""
    (folder / "pair").write_text(server.key + server.certificate)
    accepts = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    accepts.load_cert_chain(folder / "pair")
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            accepts.wrap_socket(theirs, server_side=True).close()
        except (ssl.SSLError, OSError):
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        ssl.create_default_context(cadata=trusted).wrap_socket(ours, server_hostname=host).close()
    finally:
        ours.close()
        thread.join()


@pytest.mark.parametrize("host", HOSTS)
def test_a_client_that_knows_the_certificate_accepts_the_server_under_its_names(tmp_path: Path, host: str) -> None:
    made = from_password(PASSWORD, HOSTS)
    handshake(tmp_path, made, trusted=made.certificate, host=host)


def test_a_server_under_another_name_is_refused(tmp_path: Path) -> None:
    made = from_password(PASSWORD, HOSTS)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(tmp_path, made, trusted=made.certificate, host="postgres.another")


def test_a_server_that_does_not_know_the_password_is_refused(tmp_path: Path) -> None:
    stranger = from_password("another-0123456789", HOSTS)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, stranger, trusted=from_password(PASSWORD, HOSTS).certificate, host=HOSTS[0])


def test_a_preview_without_a_change_has_no_difference() -> None:
    former = from_password(PASSWORD, HOSTS)
    from_password.cache_clear()
    assert from_password(PASSWORD, HOSTS) == former
