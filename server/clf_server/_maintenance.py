"""What a running server does by the clock: take up renewed certificates, end identities."""

from __future__ import annotations

import asyncio
import ssl

import structlog

from clf_sdk.errors import ClfError
from clf_server._renewal import switch_if_due
from clf_server._rotate_identity import retire_due
from clf_server._state import ServerState

_LOG = structlog.get_logger("clf_server")
_EVERY_SECONDS = 2.0


def maintain(state: ServerState, context: ssl.SSLContext) -> None:
    """Do what is due now."""
    retire_due(state.identities, state.audit, now=state.now())
    switch_if_due(state.config.directory, now=state.now())
    if state.certificate.reload(context):
        digest = state.certificate.digest
        state.audit.append("certificate.shown", {"certificate": digest})
        _LOG.info("certificate_shown", certificate=digest)


async def maintain_forever(state: ServerState, context: ssl.SSLContext) -> None:
    """Do what is due, again and again, until cancelled."""
    said = ""
    while True:
        await asyncio.sleep(_EVERY_SECONDS)
        try:
            await asyncio.to_thread(maintain, state, context)
            said = ""
        except Exception as error:  # noqa: BLE001 - one failure must not be the last attempt
            reason = error.message if isinstance(error, ClfError) else type(error).__name__
            if reason != said:  # once, not every two seconds
                _LOG.warning("maintenance_failed", reason=reason)
            said = reason
