"""How the database's tables came to be, revision by revision; alembic runs them."""

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009")
"""All revisions, oldest first. The last one is what this version of CLF works with."""
