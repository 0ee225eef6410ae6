"""Building blocks of networks: space-time units, residual blocks, batch norm, pooling, losses."""
