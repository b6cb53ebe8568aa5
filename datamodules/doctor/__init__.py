"""Is this data set sound? Every file decoded, every list compared with the disk."""
