"""Networks as tables, a file per paper, with what can be set of them; and the blocks that build them."""
