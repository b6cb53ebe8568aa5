"""The frame store: decode every video once, read it ever after."""
