"""One thread per test process: with more, tiny networks mostly wait for each other on busy cores."""

import torch

torch.set_num_threads(1)
