"""Every error that CLF raises, in one tree.

Each error also inherits the built-in that a caller would catch by habit, carries a stable ``code``
(the same string that stands in the server's ``application/problem+json`` answers), an optional
``hint`` that says what to do next and, when it came over the wire, the ``request_id`` to quote to
the operator. Messages never contain a cell value, a key or a token. ::

    ClfError
    ├── ConfigurationError (ValueError)          a setting is missing, unknown or contradictory
    ├── InvalidInput (ValueError)                an argument can't be used
    │   ├── InvalidName                          a table, run or output name
    │   ├── UnsupportedColumn                    a column that can't be stored; names the column
    │   ├── InvalidJob                           a job document that makes no sense
    │   ├── InvalidFilter                        a row filter; names the column or construct
    │   └── InvalidExpression                    an expression of a job; names the part
    ├── FormatError (ValueError)                 bytes or documents that don't follow the format
    │   ├── FormatTooNew                         written by a later version: upgrade
    │   └── Malformed                            not this format at all
    ├── SealBroken (ValueError)                  ciphertext was changed, cut, swapped or misplaced
    ├── SignatureInvalid (ValueError)            a signature does not hold
    ├── AuditError (ValueError)                  an audit log that proves something else
    │   ├── LogAltered                           entries that the signed root does not cover
    │   └── LogInconsistent                      not what an earlier checkpoint promised
    ├── ReceiptError (ValueError)                a receipt that proves something else
    │   ├── OwnersMismatch                       not signed by exactly the owners of the job
    │   ├── ReceiptInconsistent                  its parts contradict each other
    │   └── ReceiptMismatch                      of another run or job, or not the one others hold
    ├── KeyNotGranted (PermissionError)          a column whose key was not released
    ├── IdentityLocked (PermissionError)         the passphrase of an identity is missing or wrong
    ├── AttestationError (PermissionError)       an enclave did not prove itself
    │   ├── QuoteMalformed                       not a quote, or trailing bytes after one
    │   ├── QuoteUnverified                      a signature or certificate chain does not hold
    │   ├── AnchorMismatch                       the chain ends in another root than the one trusted
    │   ├── CollateralMalformed                  collateral that can't be read
    │   ├── CollateralExpired                    the time lies outside the collateral's validity
    │   ├── CollateralTooOld                     issued longer ago than the policy allows
    │   ├── CollateralUnavailable                no collateral to be had
    │   ├── PlatformRevoked                      the platform's certificate or TCB is revoked
    │   ├── TcbStatusRefused                     the policy does not allow this TCB status
    │   ├── AdvisoryRefused                      the policy refuses an advisory that applies
    │   ├── PlatformRefused                      the platform is not on the policy's allow-list
    │   ├── DebugEnclave                         a debug enclave: its memory is readable
    │   ├── AttributesRefused                    other attributes of the enclave are unsafe
    │   ├── MeasurementMismatch                  another MRENCLAVE
    │   ├── SignerMismatch                       another MRSIGNER
    │   ├── ProductMismatch                      another ISV_PROD_ID
    │   ├── SvnTooLow                            ISV_SVN below the policy's minimum
    │   ├── ReportDataMismatch                   the quote was made for something else
    │   ├── BindingMismatch                      the evidence names another server, run, job or key
    │   ├── NonceRefused                         unknown, used or expired nonce
    │   └── EvidenceUnavailable                  this process can't obtain a quote
    ├── AccessDenied (PermissionError)           the server says no
    │   ├── TokenRefused                         unknown, expired or revoked token, or wrong role
    │   ├── TooManyAttempts                      too many unknown tokens from one address
    │   ├── TicketRefused                        a blob or result ticket that is wrong or too old
    │   ├── PolicyRefused                        a rule of the owner's policy; ``rule`` names it
    │   ├── PolicyWidened                        a new policy allows more, and nobody said so
    │   ├── PolicyTampered                       a stored policy is not what the owner set
    │   ├── ReleasePending                       an owner has yet to release the output
    │   ├── ReleaseRefused                       an owner refused to release the output
    │   ├── AnalystRefused                       not the analyst whose job it is, or not known
    │   ├── JobNotApproved                       the owner has not approved the job
    │   ├── JobRefused                           the owner refused the job
    │   ├── JobRevoked                           the owner took the approval back
    │   ├── GrantExpired                         the approval has ended by its date
    │   ├── GrantUsedUp                          as many runs began as the owner approved
    │   ├── RunRefused                           the run can't go on as what it says it is
    │   ├── ServerPaused                         the owner paused the server
    │   └── NotPinned                            no enclave is pinned that may have a secret
    ├── ServerIdentityMismatch (PermissionError) an answer not signed by the pinned identity
    ├── NotFound (LookupError)                   no such table, run or output
    ├── JobAltered (ValueError)                  a stored job is not what its digest names
    ├── Conflict (RuntimeError)                  somebody else changed it meanwhile
    ├── TooLarge (ValueError)                    over a size limit
    ├── StorageFull (OSError)                    no space left where data is kept
    ├── StorageUnavailable (OSError)             the server's database or store does not answer
    ├── TransportError (OSError)                 the connection failed
    │   └── ServerError                          the server failed; quote the request id
    ├── KeysUnavailable (OSError)                the keeper of a server's keys does not answer
    ├── NotReady (RuntimeError)                  it is still being prepared; ask again
    ├── DeadlineExceeded (TimeoutError)          it took longer than allowed
    └── RunFailed (RuntimeError)                 the enclave app ended with an error
"""

from __future__ import annotations

from typing import ClassVar


class ClfError(Exception):
    """Base of every error raised by CLF.

    Parameters
    ----------
    message
        What happened, in one sentence.
    hint
        What to do next.
    request_id
        Identifier of the failed request, as the server's log has it.
    """

    code: ClassVar[str] = "error"

    def __init__(
        self, message: str, *, hint: str | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.request_id = request_id

    def _render_traceback_(self) -> list[str]:
        """Show the error as IPython does; asked a second time, as by ``%tb``, with a traceback."""
        from clf_sdk._error_text import render_error  # noqa: PLC0415 - for notebooks only

        return render_error(self)

    def __str__(self) -> str:
        text = self.message
        if self.request_id:
            text += f" [request {self.request_id}]"
        if self.hint:
            text += f"\nHint: {self.hint}"
        return text


class ConfigurationError(ClfError, ValueError):
    """A setting is missing, unknown or contradicts another."""

    code = "configuration"


class InvalidInput(ClfError, ValueError):
    """An argument can't be used."""

    code = "invalid_input"


class InvalidName(InvalidInput):
    """A name that can't stand for a table, a run or an output."""

    code = "invalid_name"


class UnsupportedColumn(InvalidInput):
    """A column whose type or name can't be stored; the message names the column."""

    code = "unsupported_column"


class InvalidJob(InvalidInput):
    """A job document that makes no sense."""

    code = "invalid_job"


class InvalidFilter(InvalidInput):
    """A row filter that can't be used; the message names the column or the construct."""

    code = "invalid_filter"


class InvalidExpression(InvalidInput):
    """An expression of a job that can't be used; the message names the part."""

    code = "invalid_expression"


class FormatError(ClfError, ValueError):
    """Bytes or a document that don't follow the format."""

    code = "format"


class FormatTooNew(FormatError):
    """Written by a later version of CLF than this one reads."""

    code = "format_too_new"


class Malformed(FormatError):
    """Not this format at all."""

    code = "malformed"


class SealBroken(ClfError, ValueError):
    """Ciphertext was changed, cut, swapped, or does not belong where it was found."""

    code = "seal_broken"


class SignatureInvalid(ClfError, ValueError):
    """A signature does not hold."""

    code = "signature_invalid"


class AuditError(ClfError, ValueError):
    """An audit log is not what was signed."""

    code = "audit"


class LogAltered(AuditError):
    """Entries were edited, dropped or moved: the signed root does not cover them."""

    code = "log_altered"


class LogInconsistent(AuditError):
    """The log does not continue one that was seen before: it was rolled back or rewritten."""

    code = "log_inconsistent"


class ReceiptError(ClfError, ValueError):
    """A receipt does not prove what it was shown for."""

    code = "receipt"


class OwnersMismatch(ReceiptError):
    """The receipt carries the signatures of other owners than those that its job pins."""

    code = "owners_mismatch"


class ReceiptInconsistent(ReceiptError):
    """What the receipt says is not what its owners signed or its quotes show."""

    code = "receipt_inconsistent"


class ReceiptMismatch(ReceiptError):
    """The receipt is of another run, job or result, or others hold a different one."""

    code = "receipt_mismatch"


class KeyNotGranted(ClfError, PermissionError):
    """A column was asked for whose key was not released."""

    code = "key_not_granted"


class IdentityLocked(ClfError, PermissionError):
    """An identity can't be opened: its passphrase is missing or wrong, or the keyring is locked."""

    code = "identity_locked"


class AttestationError(ClfError, PermissionError):
    """An enclave did not prove what it must."""

    code = "attestation"


class QuoteMalformed(AttestationError):
    """The bytes are not an SGX quote, or something follows it."""

    code = "quote_malformed"


class QuoteUnverified(AttestationError):
    """A signature or certificate chain of the quote or its collateral does not hold."""

    code = "quote_unverified"


class AnchorMismatch(AttestationError):
    """The certificate chain ends in another root than the one that is trusted."""

    code = "anchor_mismatch"


class CollateralMalformed(AttestationError):
    """Collateral that can't be read."""

    code = "collateral_malformed"


class CollateralExpired(AttestationError):
    """The time of verification lies outside what the collateral vouches for."""

    code = "collateral_expired"


class CollateralTooOld(AttestationError):
    """The collateral was issued longer ago than the policy allows."""

    code = "collateral_too_old"


class CollateralUnavailable(AttestationError):
    """No collateral could be obtained for the platform of a quote."""

    code = "collateral_unavailable"


class PlatformRevoked(AttestationError):
    """The platform's certificate or its TCB level is revoked."""

    code = "platform_revoked"


class TcbStatusRefused(AttestationError):
    """The TCB status of the platform is not one that the policy allows."""

    code = "tcb_status_refused"


class AdvisoryRefused(AttestationError):
    """A security advisory applies that the policy refuses."""

    code = "advisory_refused"


class PlatformRefused(AttestationError):
    """The platform (FMSPC, PPID) is not on the policy's allow-list."""

    code = "platform_refused"


class DebugEnclave(AttestationError):
    """The enclave runs in debug mode, so its host can read its memory."""

    code = "debug_enclave"


class AttributesRefused(AttestationError):
    """The enclave's attributes are unsafe or incomplete."""

    code = "attributes_refused"


class MeasurementMismatch(AttestationError):
    """MRENCLAVE is not the one that the policy pins."""

    code = "measurement_mismatch"


class SignerMismatch(AttestationError):
    """MRSIGNER is not the one that the policy pins."""

    code = "signer_mismatch"


class ProductMismatch(AttestationError):
    """ISV_PROD_ID is not the one that the policy pins."""

    code = "product_mismatch"


class SvnTooLow(AttestationError):
    """ISV_SVN lies below the policy's minimum."""

    code = "svn_too_low"


class ReportDataMismatch(AttestationError):
    """The quote's report data is not the digest of the binding it came with."""

    code = "report_data_mismatch"


class BindingMismatch(AttestationError):
    """The evidence is bound to another server, run, job or key."""

    code = "binding_mismatch"


class NonceRefused(AttestationError):
    """The nonce is unknown, was used before, or is too old."""

    code = "nonce_refused"


class EvidenceUnavailable(AttestationError):
    """No quote can be obtained for this process."""

    code = "evidence_unavailable"


class AccessDenied(ClfError, PermissionError):
    """The server refuses the request."""

    code = "access_denied"


class TokenRefused(AccessDenied):
    """The access token is missing, unknown, expired or revoked, or its role may not do this."""

    code = "token_refused"


class TooManyAttempts(AccessDenied):
    """Too many unknown access tokens came from one address.

    Attributes
    ----------
    retry_after_seconds
        When it may try again; None where only the hint says so.
    """

    code = "too_many_attempts"

    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: int | None = None,
        hint: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, request_id=request_id)
        self.retry_after_seconds = retry_after_seconds


class TicketRefused(AccessDenied):
    """A ticket for blobs or results is wrong or too old."""

    code = "ticket_refused"


class PolicyRefused(AccessDenied):
    """A rule of the owner's policy refuses the request.

    Attributes
    ----------
    rule
        Name of the rule, or None when the server does not say.
    reason
        The refusal in full, for the owner's eyes; it never crosses the wire.
    """

    code = "policy_refused"

    def __init__(
        self,
        message: str,
        *,
        rule: str | None = None,
        reason: str | None = None,
        hint: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, request_id=request_id)
        self.rule = rule
        self.reason = reason


class PolicyWidened(AccessDenied):
    """A new policy would allow what the present one does not, and the owner did not say so."""

    code = "policy_widened"


class PolicyTampered(AccessDenied):
    """A policy on the server's disk is not the one that the owner set."""

    code = "policy_tampered"


class ReleasePending(AccessDenied):
    """An owner has yet to release the output."""

    code = "release_pending"


class ReleaseRefused(AccessDenied):
    """An owner refused to release the output, for good."""

    code = "release_refused"


class AnalystRefused(AccessDenied):
    """The token is not that of the job's analyst, or the owner does not know the analyst."""

    code = "analyst_refused"


class JobNotApproved(AccessDenied):
    """The owner has not approved the job."""

    code = "job_not_approved"


class JobRefused(AccessDenied):
    """The owner refused the job."""

    code = "job_refused"


class JobRevoked(AccessDenied):
    """The owner took the approval of the job back."""

    code = "job_revoked"


class GrantExpired(AccessDenied):
    """The approval of the job has ended by its date."""

    code = "grant_expired"


class GrantUsedUp(AccessDenied):
    """As many runs began as the owner approved."""

    code = "grant_used_up"


class RunRefused(AccessDenied):
    """The run is of another job, is over, or another enclave carries it now."""

    code = "run_refused"


class ServerPaused(AccessDenied):
    """The owner paused the server: no sessions, no ciphertext, no results."""

    code = "server_paused"


class NotPinned(AccessDenied):
    """The server's operator has pinned no enclave that may have its secrets."""

    code = "not_pinned"


class ServerIdentityMismatch(ClfError, PermissionError):
    """An answer is not signed by the server identity that was pinned."""

    code = "server_identity_mismatch"


class NotFound(ClfError, LookupError):
    """No such table, run or output."""

    code = "not_found"


class JobAltered(ClfError, ValueError):
    """The job that a server stores, or shows, is not the one that its digest names."""

    code = "job_altered"


class Conflict(ClfError, RuntimeError):
    """Somebody else changed the same thing meanwhile."""

    code = "conflict"


class TooLarge(ClfError, ValueError):
    """Something exceeds a size limit."""

    code = "too_large"


class StorageFull(ClfError, OSError):
    """No space is left where the server keeps its data."""

    code = "storage_full"


class StorageUnavailable(ClfError, OSError):
    """The database or the object store of a server is out of reach for now."""

    code = "storage_unavailable"


class TransportError(ClfError, OSError):
    """The connection could not be made, or broke."""

    code = "transport"


class ServerError(TransportError):
    """The server failed on its side."""

    code = "server_error"


class KeysUnavailable(ClfError, OSError):
    """The keeper of the server's key-encryption key can't be reached, or refuses."""

    code = "keys_unavailable"


class NotReady(ClfError, RuntimeError):
    """What was asked for is still being prepared."""

    code = "not_ready"


class DeadlineExceeded(ClfError, TimeoutError):
    """An operation took longer than its deadline."""

    code = "deadline_exceeded"


class RunFailed(ClfError, RuntimeError):
    """The enclave app ended with an error."""

    code = "run_failed"


def _tree(root: type[ClfError]) -> dict[str, type[ClfError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


BY_CODE: dict[str, type[ClfError]] = _tree(ClfError)
"""Error class for each wire code."""
