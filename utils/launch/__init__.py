"""How scripts are started: torchrun, and whether what they need is installed. No torch."""
