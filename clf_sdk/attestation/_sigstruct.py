"""The signature file of an enclave (SIGSTRUCT): what a signed build will be measured as.

Format: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3D, "Enclave Signature
Structure". ``gramine-sgx-sign`` writes it beside the manifest, with the ending ``.sig``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from clf_sdk.attestation._policy import EnclavePolicy
from clf_sdk.errors import DebugEnclave, Malformed, SignatureInvalid

SIGSTRUCT_BYTES = 1808
_HEADER = bytes.fromhex("06000000e10000000000010000000000")
_HEADER2 = bytes.fromhex("01010000600000006000000001000000")
_EXPONENT = 3
_DEBUG = 0x02


@dataclass(frozen=True)
class Sigstruct:
    """What the signer of an enclave vouches for.

    Attributes
    ----------
    mrenclave
        Measurement that the enclave will have, 64 hex digits.
    mrsigner
        SHA-256 of the signer's modulus, 64 hex digits.
    isv_prod_id, isv_svn
        The signer's product and its security version.
    debug
        Whether the enclave may be started so that its memory is readable.
    """

    mrenclave: str
    mrsigner: str
    isv_prod_id: int
    isv_svn: int
    debug: bool

    def policy(self) -> EnclavePolicy:
        """Return the policy that pins this build by everything that identifies it.

        Raises
        ------
        DebugEnclave
            It is a debug build, which no server accepts.
        """
        if self.debug:
            raise DebugEnclave(
                "this is a debug build: the host could read the enclave's memory",
                hint="set sgx.debug = false in the manifest, and sign it again",
            )
        return EnclavePolicy(
            mrenclave=self.mrenclave,
            mrsigner=self.mrsigner,
            isv_prod_id=self.isv_prod_id,
            min_isv_svn=self.isv_svn,
        )


def parse_sigstruct(data: bytes) -> Sigstruct:
    """Read a signature file, and check its signature.

    Raises
    ------
    Malformed
        It is not a SIGSTRUCT.
    SignatureInvalid
        Its signature does not hold: no CPU would start the enclave.
    """
    if (
        len(data) != SIGSTRUCT_BYTES
        or data[:16] != _HEADER
        or data[24:40] != _HEADER2
        or int.from_bytes(data[512:516], "little") != _EXPONENT
    ):
        raise Malformed(
            "this is not the signature file of an enclave",
            hint="gramine-sgx-sign writes it; its name ends in .sig and it has 1,808 bytes",
        )
    modulus = data[128:512]
    signature = data[516:900][::-1]
    try:
        key = RSAPublicNumbers(_EXPONENT, int.from_bytes(modulus, "little")).public_key()
        key.verify(signature, data[:128] + data[900:1028], PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError) as error:
        raise SignatureInvalid(
            "the enclave's signature file is not what its signer signed",
            hint="it was changed or damaged; sign the enclave again",
        ) from error
    flags = int.from_bytes(data[928:936], "little")
    flags_mask = int.from_bytes(data[944:952], "little")
    return Sigstruct(
        mrenclave=data[960:992].hex(),
        mrsigner=hashlib.sha256(modulus).hexdigest(),
        isv_prod_id=int.from_bytes(data[1024:1026], "little"),
        isv_svn=int.from_bytes(data[1026:1028], "little"),
        # A bit that the mask leaves out is the host's to choose.
        debug=bool(flags & _DEBUG) or not flags_mask & _DEBUG,
    )
