"""The record of a run: all that is ever written of it, and who may write."""
