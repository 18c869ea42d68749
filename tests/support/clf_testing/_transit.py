"""The transit engine of a Vault, as its HTTP API is documented, on a real port of this machine."""

from __future__ import annotations

import base64
import json
import os
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clf_server._certificate_files import make_certificates

_AUTHENTICATION_FAILED = "cipher: message authentication failed"


class TransitServer:
    """Answers ``encrypt`` and ``decrypt`` in the shapes of Vault and OpenBao.

    Attributes
    ----------
    keys
        Versions of each transit key, the oldest first.
    token
        The one token that it accepts.
    sealed
        Whether it says that it is sealed.
    binds
        Whether it honours ``associated_data``; Vault before 1.13 passed over it.
    left
        How many requests it still answers before it is sealed; None is without end.
    seen
        Paths of all requests.
    """

    def __init__(self, *, tls: Path | None = None) -> None:
        self.keys: dict[str, list[bytes]] = {"clf": [os.urandom(32)]}
        self.token = "hvs.right"
        self.sealed = False
        self.binds = True
        self.left: int | None = None
        self.seen: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.ca: Path | None = None
        if tls is not None:
            make_certificates(tls, name="vault", hosts=["127.0.0.1"])
            self.ca, chain, key = tls / "ca.pem", tls / "server.pem", tls / "server.key"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(chain, key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.url = self.url.replace("http:", "https:")
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def rotate(self, key: str = "clf") -> None:
        """Add a version to a key, as ``transit/keys/KEY/rotate`` does."""
        self.keys[key].append(os.urandom(32))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        transit = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = transit.answer(self.path, self.headers["X-Vault-Token"], body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        return Handler

    def answer(self, path: str, token: str, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
        self.seen.append(path)
        if self.left is not None:
            self.left -= 1
            self.sealed = self.sealed or self.left < 0
        if self.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if token != self.token:
            return 403, {"errors": ["permission denied"]}
        match path.split("/"):
            case ["", "v1", "transit", "encrypt", name]:
                return self._encrypt(name, body)
            case ["", "v1", "transit", "decrypt", name]:
                return self._decrypt(name, body)
        return 404, {"errors": [f'no handler for route "{path[4:]}". route entry not found.']}

    def _associated(self, body: dict[str, str]) -> bytes:
        return base64.b64decode(body.get("associated_data", "")) if self.binds else b""

    def _encrypt(self, name: str, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if name not in self.keys:
            return 400, {"errors": ["encryption key not found"]}
        nonce, version = os.urandom(12), len(self.keys[name])
        plaintext = base64.b64decode(body["plaintext"])
        raw = AESGCM(self.keys[name][-1]).encrypt(nonce, plaintext, self._associated(body))
        sealed = base64.b64encode(nonce + raw).decode()
        return 200, _answer(ciphertext=f"vault:v{version}:{sealed}", key_version=version)

    def _decrypt(self, name: str, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if name not in self.keys:
            return 400, {"errors": ["encryption key not found"]}
        prefix, _, sealed = body["ciphertext"].rpartition(":")
        try:
            version = int(prefix.removeprefix("vault:v"))
            raw = base64.b64decode(sealed, validate=True)
        except ValueError:
            return 400, {"errors": ["invalid ciphertext: no prefix"]}
        aead = AESGCM(self.keys[name][version - 1])
        try:
            plaintext = aead.decrypt(raw[:12], raw[12:], self._associated(body))
        except InvalidTag:
            return 400, {"errors": [_AUTHENTICATION_FAILED]}
        return 200, _answer(plaintext=base64.b64encode(plaintext).decode())


def _answer(**data: Any) -> dict[str, Any]:
    return {
        "request_id": "0bc8c0bd-e9a3-5b5b-8e6d-8a1f4b6c2a10",
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": data,
        "wrap_info": None,
        "warnings": None,
        "auth": None,
    }
