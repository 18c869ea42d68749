"""TLS sockets that leave nothing open when the other side dies between connect and handshake.

The standard library makes the socket of a TLS connection and then looks whether its peer is still
there. Where the peer has reset the connection by then, it raises without closing the socket that
nobody else holds yet (``ssl.SSLSocket._create``); the descriptor stays open until the garbage
collector comes. A server that is stopped while clients connect does exactly that to them.
"""

from __future__ import annotations

import ssl


class ClosingSocket(ssl.SSLSocket):
    """A TLS socket that closes itself when it finds its connection reset."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """See `ssl.SSLSocket.recv`, with which the standard library looks for the peer."""
        try:
            return super().recv(buflen, flags)
        except ConnectionError:
            self.close()
            raise


def with_closing_sockets(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let a client's context make sockets that close themselves, and return it."""
    context.sslsocket_class = ClosingSocket
    return context
