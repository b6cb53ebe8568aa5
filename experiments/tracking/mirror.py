"""Weights & Biases (W&B): a mirror of the results. No table depends on it.

It is online where credentials exist. Elsewhere its runs wait on disk for `run.py --sync`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.records.record import digest
from experiments.records.world import rank
from experiments.settings.schema import WandbConfig

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger


OLDER_NAMES = {"run": "online", "dryrun": "offline"}  # still taken by WANDB_MODE
PRIVATE = {
    "host": "private",  # no switch below leaves out these two
    "program": "private",
    "x_disable_meta": True,  # arguments, program path, user
    "x_disable_machine_info": True,  # CPU, GPU, memory
    "x_disable_stats": True,
    "x_save_requirements": False,
    "disable_git": True,
    "console": "off",
}


def resolve_mode(mode: str) -> str:
    """`online`, `offline` or `disabled` for a `wandb.mode`. Uses no network and asks nobody.

    Raises ValueError for an unknown WANDB_MODE.
    """
    if mode != "auto":
        return mode
    if found := os.environ.get("WANDB_MODE"):
        resolved = OLDER_NAMES.get(found, found)
        if resolved not in ("online", "offline", "disabled"):
            raise ValueError(f"WANDB_MODE is {found!r}; expected online, offline or disabled: correct or unset it")
        return resolved
    import wandb

    try:
        saved = wandb.setup(wandb.Settings(silent=True)).settings.mode  # as `wandb offline` leaves it in a file
        if saved != "online":
            return OLDER_NAMES.get(saved, saved)
        return "online" if wandb.login(prompt=False, verify=False) else "offline"
    except Exception:
        return "online"  # there are credentials, but malformed ones: the attempt to use them says what is wrong


def sign_in() -> None:
    """Use the account that is stored here, online whatever WANDB_MODE says. Raises ValueError where there is none."""
    import wandb

    os.environ["WANDB_ERROR_REPORTING"] = "false"  # nothing here knows which of the runs are private
    os.environ.pop("WANDB_MODE", None)  # with `offline`, W&B looks for no credentials
    wandb.setup(wandb.Settings(silent=True, mode="online"))
    try:
        if not wandb.login(prompt=False, verify=True):
            raise wandb.errors.UsageError("no credentials found, `wandb login` stores them")
    except wandb.Error as error:
        raise ValueError(f"W&B: {' '.join(str(error).split())}; nothing was sent") from None


@contextmanager
def tracked_run(
    settings: WandbConfig,
    *,
    run_id: str,
    group: str,
    config: dict[str, Any],
    tags: list[str],
    folder: Path,
    job_type: str = "train",
    resume: bool = False,
) -> Iterator[WandbLogger | None]:
    """The logger of one W&B run, which ends with the block: as failed if the block raised.

    The logger is None where W&B is disabled or cannot start. Where W&B cannot be reached or refuses, the run continues
    offline. Files go to `folder`/wandb. Under a W&B agent, the agent's run id replaces `run_id`.

    With `resume`, the run goes on where an earlier one of this id ended. Else it replaces that one. Parts of it that
    still wait for their upload are then removed, because W&B would join them to the new run.

    A private run has neither tags nor a name of its own. How to upload offline runs is said once for a sweep.

    At the end, an upload may take WANDB_FINISH_TIMEOUT seconds (60).
    """
    if settings.private:
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # before W&B's background process starts, which reads it
    mode = resolve_mode(settings.mode)
    if mode == "disabled":
        yield None
        return

    folder.mkdir(parents=True, exist_ok=True)
    os.environ["WANDB_DATA_DIR"] = data_folder(folder)
    import wandb

    assert wandb.run is None, f"run {wandb.run.id} is still open: a second logger would silently join it"
    under_agent, shown_id = "WANDB_SWEEP_ID" in os.environ, wandb_id(run_id, settings.private)
    if not (resume or under_agent):
        _remove_waiting(folder, shown_id)
    arguments = {
        "project": settings.project,
        "entity": settings.entity,
        "id": None if under_agent else shown_id,
        "resume": "allow" if resume and not under_agent else None,
        "name": shown_id if settings.private else run_id,
        "group": group,
        "job_type": job_type,
        "tags": [] if settings.private else [tag[:64] for tag in tags],  # W&B takes no longer ones
        "config": config,
        "save_dir": folder,
    }
    logger = _start(mode, settings.private, arguments)
    exit_code = 1
    try:
        yield logger
        exit_code = 0
    finally:
        _finish(exit_code, _remedy(config.get("sweep"), job_type, folder))


def _remedy(sweep: str | None, job_type: str, folder: Path) -> str:
    """How to upload offline runs: for a sweep, its report says it for all; else a run for itself (`{}`)."""
    if job_type == "report":
        command = ["python", "experiments/run.py", "--sync", f"results={folder}"]
        return f"offline runs; upload them with: {shlex.join(command)}"
    return "" if sweep else "offline run; upload it with: wandb sync {}"


def data_folder(folder: Path) -> str:
    """Where tables and artifacts wait for their upload. By itself, W&B would put them into HOME."""
    return str(folder.resolve() / "wandb")


def wandb_id(run_id: str, private: bool = False) -> str:
    """A run's id as W&B takes it, of letters, digits and a few signs. Different runs have different ids.

    A private run has a digest in the place of its name, which may hold that of a data set's folder.
    """
    own = digest(run_id)
    if private:
        return f"{run_id.partition('-')[0]}-{own}"
    fit = re.sub(r"[^\w.()+-]", "-", run_id)[:100]
    return fit if fit == run_id else f"{fit}-{own}"


def uploaded_mark(log: Path) -> Path:
    """The file that W&B makes beside an offline run's log once that is uploaded."""
    return log.with_name(f"{log.name}.synced")


def _remove_waiting(folder: Path, run_id: str) -> None:
    """Remove the offline parts of a run that wait for their upload. Only the first process does."""
    if rank() > 0:
        return
    for part in (folder / "wandb").glob("offline-run-*"):
        log = part / f"run-{run_id}.wandb"
        if log.exists() and not uploaded_mark(log).exists():
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def only_a_mirror(what: str) -> Iterator[None]:
    """Turn any error of W&B into one line."""
    try:
        yield
    except Exception as error:
        print(f"W&B: {what} failed ({one_line(error)}); the results here are whole", flush=True)


def _start(mode: str, private: bool, arguments: dict[str, Any]) -> WandbLogger | None:
    """The started run's logger. A run that is refused online starts offline. None if that fails too."""
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    try:
        wandb.setup(wandb.Settings(silent=True))
        if mode == "online":
            wandb.setup(wandb.Settings(mode="online"))  # over a WANDB_MODE=offline, with which login finds nothing
            if not wandb.login(prompt=False, verify=False):  # init alone would prompt at a terminal
                raise wandb.errors.UsageError("no credentials found, `wandb login` stores them")
        settings = wandb.Settings(
            silent=True,
            save_code=False,  # explicit, since an account can switch code saving on
            disable_code=True,
            init_timeout=30,
            finish_timeout=float(os.environ.get("WANDB_FINISH_TIMEOUT", 60)),
            finish_timeout_raises=True,
            **(PRIVATE if private else {}),
        )
        logger = WandbLogger(mode=mode, settings=settings, **arguments)
        _ = logger.experiment  # starts it now, so that a refusal shows before training
        return logger
    except Exception as error:  # W&B's own are not all of one kind
        reason = one_line(error)
    if mode == "offline":
        print(f"W&B: cannot start ({reason}); this run goes on without it", flush=True)
        return None
    print(f"W&B: cannot start online ({reason}); this run continues offline", flush=True)
    with suppress(Exception):
        wandb.teardown()  # W&B's background process still holds the run id of the failed attempt
    return _start("offline", private, arguments)


def one_line(error: Exception) -> str:
    """An error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _finish(exit_code: int, offline: str) -> None:
    """End this process's run, and say in one line where it is; of an offline run, `offline`."""
    import wandb

    if wandb.run is None:  # ranks other than 0
        return
    url, quoted = wandb.run.url, shlex.quote(str(Path(wandb.run.dir).parent))
    with only_a_mirror("the end of a run"):
        try:
            wandb.finish(exit_code=exit_code)
        except TimeoutError:
            print(f"W&B: upload unfinished; complete it with: wandb sync --include-online {quoted}", flush=True)
        else:
            if said := url or offline.replace("{}", quoted):
                print(f"W&B: {said}", flush=True)


def is_private(run: Any) -> bool:
    """Whether a W&B run sends numbers and settings only."""
    return run.settings.x_disable_meta
