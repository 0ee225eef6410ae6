"""Clip transforms: operations, augmentation recipes, label-aware flips, mixup and cutmix, normalization."""
