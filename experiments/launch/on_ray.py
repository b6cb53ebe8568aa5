"""Points as tasks on a Ray cluster."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence

from datamodules.processes import ray_cluster
from experiments.launch.point import Outcome, outcome_of, run_on_ray
from experiments.launch.processes import usual_jobs
from experiments.settings.schema import RunConfig


def on_ray(runs: Sequence[RunConfig], jobs: int | None, force: bool) -> Iterator[Outcome]:
    """Run points as tasks on the Ray cluster that RAY_ADDRESS names, or on a Ray for `jobs` points started here.

    The machines of a cluster must see this folder, the data and the results under the same paths, and have this
    package. A task asks for the cores and GPUs that its point uses.
    """
    if not runs:
        return
    cores = {run.id: run.trainer.devices * (run.trainer.threads + run.trainer.workers) for run in runs}
    per_point = max(cores.values())
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    with ray_cluster((jobs or usual_jobs(runs)) * per_point, show_output=True) as ray:
        for signum, handler in handlers.items():  # Ray sets its own
            signal.signal(signum, handler)
        gpus = ray.cluster_resources().get("GPU", 0)
        asked = {
            run.id: {
                "num_cpus": cores[run.id],
                "num_gpus": run.trainer.devices if gpus and run.trainer.accelerator != "cpu" else 0,
            }
            for run in runs
        }
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for run in runs:
            own = asked[run.id]
            if not any(m.get("CPU", 0) >= own["num_cpus"] and m.get("GPU", 0) >= own["num_gpus"] for m in machines):
                raise ValueError(
                    f"{run.id} asks for {own['num_cpus']} cores and {own['num_gpus']} GPUs (trainer.devices, "
                    "trainer.threads, trainer.workers), which no machine of the Ray cluster has"
                )
        waiting, running = list(runs), {}
        while waiting or running:
            while waiting and len(running) < (jobs or len(runs)):
                run = waiting.pop(0)
                # A worker for each point, which ends with it: a crash costs one point only.
                task = ray.remote(max_calls=1, max_retries=0, **asked[run.id])(run_on_ray)
                running[task.remote(run, force, os.getcwd())] = run
            for done in ray.wait(list(running))[0]:
                run = running.pop(done)
                try:
                    exit_code, machine = ray.get(done)
                except ray.exceptions.RayError as error:
                    yield outcome_of(run, 1, f"Ray says: {' '.join(str(error).split())[-500:]}")
                    continue
                if exit_code == 0 and not (run.folder / "record.json").exists():
                    why = f"finished on {machine}, whose {run.results} is not this one: copy runs/{run.id} from there"
                    yield run, 1, why
                else:
                    yield outcome_of(run, exit_code)
