"""A network layer by layer, with what each layer sees of time, and the bytes of its clips."""
