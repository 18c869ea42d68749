"""What the tests of several packages share: owners, enclaves and networks that can misbehave."""

from clf_testing._enclave import HandmadeEnclave
from clf_testing._jobs import (
    GLM,
    MRENCLAVE,
    agree,
    allowed_enclave,
    endpoint_of,
    job_input,
    joined,
    make_job,
    run_request,
    signed,
)
from clf_testing._keyring import MemoryKeyring
from clf_testing._local import Clock, LocalServer, SealedUpload
from clf_testing._operations import SECRET, MemoryStream, demand, demanding, operate
from clf_testing._owner import Owner, execute
from clf_testing._people import admit, the_analyst
from clf_testing._postgresql import PostgreSQL, find_postgresql
from clf_testing._receipts import RULES, HandmadeRun, job_of, owner_keys, seal_payload
from clf_testing._relay import Exchange, Relay
from clf_testing._sender import Sender
from clf_testing._simulation import Simulation
from clf_testing._store import ENVIRONMENT, Store
from clf_testing._transit import TransitServer

__all__ = [
    "ENVIRONMENT",
    "GLM",
    "MRENCLAVE",
    "RULES",
    "SECRET",
    "Clock",
    "Exchange",
    "HandmadeEnclave",
    "HandmadeRun",
    "LocalServer",
    "MemoryKeyring",
    "MemoryStream",
    "Owner",
    "PostgreSQL",
    "Relay",
    "SealedUpload",
    "Sender",
    "Simulation",
    "Store",
    "TransitServer",
    "admit",
    "agree",
    "allowed_enclave",
    "demand",
    "demanding",
    "endpoint_of",
    "execute",
    "find_postgresql",
    "job_input",
    "job_of",
    "joined",
    "make_job",
    "operate",
    "owner_keys",
    "run_request",
    "seal_payload",
    "signed",
    "the_analyst",
]
