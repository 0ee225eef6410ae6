"""Upper limits of keys where a slip of the keyboard costs the machine: far above anything that was ever trained."""

# Key, in whatever section, -> the largest number allowed.
AT_MOST: dict[str, float] = {
    "num_classes": 1_000_000,
    "crop_size": 4096,
    "eva_crop_size": 4096,
    "num_workers": 512,
    "ra_n": 100,
    "num_gpu": 65_536,
    "seed": 2**63 - 1,
    "heldout_seed": 2**63 - 1,
    "precise_bn": 1_000_000,
    "eva_num_segments": 4096,
    "eva_num_clips": 4096,
    "base_width": 4096,
    "num_segments": 4096,
    "clip_length": 4096,
    "num_steps": 100_000,
    "batch_size": 65_536,
    "iter_size": 65_536,
    "epochs": 100_000,
    "shares": 1,
    "attempt_epochs": 100_000,
    "max_epochs": 100_000,
    "horizon": 100_000,
}
