"""What is run with which numbers, and what came out."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # of the checkout
