"""Measurements as ratios of medians, ours and a yardstick's taken in turn in one run."""
