"""The embedded data set: `make_synthetic`, `python -m dataset.synthetic`. No torch."""

from dataset.synthetic.make import make_synthetic

__all__ = ["make_synthetic"]
