"""CLF: one analysis over the joined data of several owners who show it to nobody."""
