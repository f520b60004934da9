"""Issuer of tokens with a key of its own, in the form of Kubernetes' projected service account tokens."""

import base64
import datetime as dt
import json
import ssl
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID


@dataclass
class Issuer:
    """Issuer of tokens."""

    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))

    @property
    def key_set(self) -> str:
        """JSON Web Key Set with the public key."""
        numbers = self.key.public_key().public_numbers()
        jwk = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "k", "n": _number(numbers.n), "e": _number(numbers.e)}
        return json.dumps({"keys": [jwk]})

    @property
    def keys(self) -> dict[str, object]:
        """Key set as the field of Envoy's JwtProvider."""
        return {"local_jwks": {"inline_string": self.key_set}}

    def token(self, subject: str, *, header: dict[str, str] | None = None, **claims: object) -> str:
        """Return a token of ten minutes for the audience `mlflow`, with other or, where None, without some claims."""
        given: dict[str, Any] = {"iss": "cluster", "sub": subject, "aud": ["mlflow"], "exp": time.time() + 600}
        claimed = {key: value for key, value in (given | claims).items() if value is not None}
        signed = ".".join(
            _text(json.dumps(part).encode()) for part in (header or {"alg": "RS256", "kid": "k"}, claimed)
        )
        signature = self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_text(signature)}"

    @contextmanager
    def serving(
        self,
        folder: Path,
        port: int = 0,
        pages: Mapping[str, str] | None = None,
        exchange: Callable[[str, str], tuple[int, str]] | None = None,
    ) -> Generator[tuple[str, Path]]:
        """Yield the URL of the key set on an HTTPS server named localhost, and the file with its certificate.

        `pages` are further texts of the server, by path. `exchange` returns status and text of the response to a
        POST, from the header Authorization and the body.
        """
        certificate = folder / "localhost.pem"
        if not certificate.exists():
            certificate.write_bytes(_certificate(self.key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        texts: Mapping[str, str] = pages if pages is not None else {}
        keys = self.key_set

        class Keys(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = keys if self.path == "/keys" else texts.get(self.path)
                self._respond(*((404, "") if text is None else (200, text)))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                self._respond(*exchange(self.headers.get("Authorization", ""), body) if exchange else (404, ""))

            def _respond(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                del code, size  # silent

        with ThreadingHTTPServer(("127.0.0.1", port), Keys) as server:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            yield f"https://localhost:{server.server_port}/keys", certificate
            server.shutdown()


def _certificate(key: rsa.RSAPrivateKey) -> bytes:
    """Return a key and a certificate of `localhost` that it signed itself, as PEM."""
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + made.public_bytes(serialization.Encoding.PEM)


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _number(value: int) -> str:
    return _text(value.to_bytes((value.bit_length() + 7) // 8, "big"))
