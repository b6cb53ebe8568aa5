"""Frame CNNs as tables, one file per paper, and the blocks that build them."""
