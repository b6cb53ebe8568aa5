"""No test here reaches an account: there are no credentials, and nothing listens where W&B would connect."""

import os

import pytest
import wandb
from wandb.sdk.lib import wbauth


@pytest.fixture(autouse=True)
def no_account(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB_") or name == "NETRC"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home" / name))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens: a mistake cannot reach an account
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    wandb.setup(wandb.Settings(silent=True, mode="online", base_url="http://127.0.0.1:9"))
    yield
    wandb.finish()
    wbauth.unauthenticate_session()
