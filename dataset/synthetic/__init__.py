"""The synthetic datasets: `make_synthetic` makes the embedded one, as does `python -m dataset.synthetic`. No torch."""

from dataset.synthetic.make import make_synthetic

__all__ = ["make_synthetic"]
