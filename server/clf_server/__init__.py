"""The owner's server: keeps sealed tables and gives keys to attested enclaves only."""
