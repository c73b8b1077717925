"""The checker of annotations in tests: beartype, for which an int is a float, as in Python's own typing rules."""

from beartype import BeartypeConf, beartype

checker = beartype(conf=BeartypeConf(is_pep484_tower=True))
