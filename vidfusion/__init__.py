"""Networks that fuse information over time, one file per strategy in `vidfusion.strategies`."""
