"""Results with noise: rows of each person are bounded, then OpenDP adds noise (§8.5)."""

from clf_enclave._privacy._bound import bound_people

__all__ = ["bound_people"]
