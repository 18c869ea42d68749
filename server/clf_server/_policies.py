"""The policies of tables: authentic on disk, and never wider unless the owner says so.

Whoever can write to the server's files could write himself another policy. So each is stored with a
tag (HMAC-SHA256) under a key that is derived from the key of the table's version, which only the
key-encryption key opens (docs/protocol.md §11.3).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hmac

from clf_sdk import Policy
from clf_sdk.errors import PolicyTampered, PolicyWidened
from clf_sdk.policy import Comparison
from clf_sdk.protocol import PolicyChange, RuleChangeDocument, canonical_json, parse_json
from clf_server._metadata import StoredPolicy, StoredTable, Version
from clf_server._state import ServerState
from clf_server._vault import Vault

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_KNOWN = 1000


def check_policy(policy: Policy, schema: pa.Schema) -> None:
    """Check that a policy fits a table, and that its row filter can be computed on it.

    Raises
    ------
    ConfigurationError, InvalidFilter
        It does not; the message names the column or the construct.
    """
    policy.check_table(schema)
    row_filter = policy.row_filter
    if row_filter is not None:
        # A parser and a database, which a server without row filters starts faster without.
        from clf_sdk.filters import FilterRun  # noqa: PLC0415 - see above

        FilterRun(row_filter, schema).close()


class Policies:
    """Reads and changes the policies of tables."""

    def __init__(self, state: ServerState, vault: Vault) -> None:
        self._state = state
        self._vault = vault
        self._known: OrderedDict[tuple[Version, StoredPolicy], Policy] = OrderedDict()
        self._lock = threading.Lock()

    def _mac(self, version: Version, text: str) -> hmac.HMAC:
        mac = hmac.HMAC(self._vault.policy_key(version), hashes.SHA256())
        tagged = {
            "clf": 1,
            "type": "table-policy",
            "table": version.table_name,
            "version": version.version_id,
            "policy": text,
        }
        mac.update(canonical_json(tagged))
        return mac

    def seal(self, policy: Policy, version: Version) -> StoredPolicy:
        """Return a policy as it is stored with a version of a table."""
        text = canonical_json(policy.to_json()).decode()
        return StoredPolicy(text, self._mac(version, text).finalize().hex())

    def of(self, table: StoredTable) -> Policy:
        """Return the policy of a table.

        Raises
        ------
        PolicyTampered
            What is stored is not what the owner set.
        """
        # All that is checked is part of the key, so what was authentic once is so always.
        key = (table.current, table.policy)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        policy = self._authentic(table)
        with self._lock:
            self._known[key] = policy
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return policy

    def _authentic(self, table: StoredTable) -> Policy:
        mac = self._mac(table.current, table.policy.text)
        try:
            mac.verify(bytes.fromhex(table.policy.tag))
        except (InvalidSignature, ValueError) as error:
            raise PolicyTampered(
                f"the stored policy of table {table.name!r} is not the one that its owner set",
                hint="find out who can write to the server's files; then set the policy anew "
                "with widen=True, or drop the table",
            ) from error
        return Policy.from_json(parse_json(table.policy.text, what="stored policy"))

    def check_change(
        self, before: StoredTable, policy: Policy, *, widen: bool
    ) -> Comparison | None:
        """Compare a table's policy with a new one, and refuse what is wider unless it may be.

        Returns
        -------
        Comparison or None
            What changes; None when what is stored was tampered with, and can't be compared.

        Raises
        ------
        PolicyWidened
            A rule becomes wider; the message names all that do.
        PolicyTampered
            What is stored can't be compared, and widening was not allowed.
        """
        try:
            compared = self.of(before).compare(policy)
        except PolicyTampered:
            if widen:
                return None
            raise
        if compared.wider and not widen:
            raise PolicyWidened(
                f"the new policy of table {before.name!r} is wider than the present one in: "
                f"{', '.join(compared.wider)}",
                hint="if you mean it, say widen=True (--widen)",
            )
        return compared

    def set(self, name: str, policy: Policy, *, widen: bool) -> PolicyChange:
        """Give a table another policy, which holds for every session from now on.

        Raises
        ------
        NotFound
            There is no such table.
        PolicyWidened, PolicyTampered
            As for `check_change`.
        ConfigurationError, InvalidFilter
            The policy does not fit the table.
        Conflict
            Somebody else changed the table at the same time.
        """
        table = self._state.metadata.table(name)
        check_policy(policy, self._vault.manifest(table.current).schema)
        compared = self.check_change(table, policy, widen=widen)
        self.replace(table, policy)
        return PolicyChange(
            table=name,
            policy=policy.to_json(),
            changes=[]
            if compared is None
            else [RuleChangeDocument(**vars(change)) for change in compared.changes],
        )

    def replace(self, before: StoredTable, policy: Policy) -> None:
        """Store a policy that was checked; the same one again changes nothing.

        What was sealed or permitted under the old one ends: derived versions and tickets.

        Raises
        ------
        Conflict
            The table is not what it was before.
        """
        sealed = self.seal(policy, before.current)
        if sealed == before.policy:
            return
        state, changed = self._state, self.describe_change(before, policy)
        with state.metadata.transaction() as connection:
            gone = state.metadata.set_policy(connection, before, sealed)
            if changed is not None:
                state.audit.append("policy.changed", changed, connection=connection)
        state.tickets.revoke([before.current.version_id, *gone])
        for version_id in gone:
            state.objects.delete(version_id)

    def describe_change(self, before: StoredTable, policy: Policy) -> dict[str, Any] | None:
        """Describe a change of a table's policy for the audit log; None when there is none."""
        changed = {
            "table": before.name,
            "version": before.current.version,
            "policy": policy.digest,
            "before": None,
            "wider": None,
            "tighter": None,
        }
        try:
            old = self.of(before)
        except PolicyTampered:
            return changed
        if old == policy:
            return None
        compared = old.compare(policy)
        return changed | {
            "before": old.digest,
            "wider": list(compared.wider),
            "tighter": list(compared.tighter),
        }
