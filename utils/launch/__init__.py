"""Start scripts: torchrun, and the check of requirements. No torch."""
