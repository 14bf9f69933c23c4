"""Run work in this process or on dask workers. The bytes are the same.

catalog.run(work, Todo(cache, plan))
"""

import os

from pipeline import graphics
from pipeline.executors import dask, here
from pipeline.journal import Asked
from pipeline.plan import Again, Plan, Todo
from pipeline.work import Machine, Work
from pipeline.worker import Task


def check(machine: Machine) -> None:
    """Refuse an impossible machine, before anything is opened.

    Raises:
        UserError: the address of its scheduler is malformed.
    """
    dask.check_address(machine.scheduler)


def devices(machine: Machine) -> tuple[str, ...]:
    """Return the names of the torch devices that make products: those of this machine, or those of a worker of the cluster.

    Raises:
        UserError: there is no such device, or no scheduler answers.
    """
    return dask.devices(machine.scheduler, machine.device) if machine.scheduler else machine.devices()


def at_once(machine: Machine) -> tuple[int, int]:
    """Return how many devices run models, and how many processes draw shapes, at the same time: here, or on all workers of the cluster.

    Raises:
        UserError: no scheduler answers.
    """
    return dask.at_once(machine) if machine.scheduler else (len(machine.devices()), machine.processes())


def renderer(task: Task, machine: Machine) -> str:
    """Name the driver that will draw the pictures; empty without views. It makes an OpenGL context to find out.

    Raises:
        UserError: no OpenGL context can be made, or no scheduler answers.
    """
    return dask.renderer(task, machine.scheduler, machine.device) if machine.scheduler else here.renderer(task, machine.device)


def run(work: Work, todo: Todo) -> None:
    """Make all missing shards of a plan, and note the cost of each in the journal.

    Raises:
        UserError: see `pipeline.building.build_cache`.
    """
    told = _unmatched(work.machine, todo.plan)
    if told:
        work.terminal.say(told)
    _note_first(work, todo.plan)
    work.terminal.begin(todo.totals(work.cache))
    if _spread(work.machine, todo.plan):
        dask.run(work, todo)
    else:
        here.run(work, todo)


def retry(work: Work, plan: Plan, again: Again) -> int:
    """Try failed shapes again. Returns how many are ok now. Raises the errors of `run`."""
    _note_first(work, plan)
    work.terminal.begin({"shapes": sum(map(len, again.values()))})
    return dask.retry(work, plan, again) if _spread(work.machine, plan) else here.retry(work, plan, again)


def _note_first(work: Work, plan: Plan) -> None:
    """Note what this process has asked the servers of captioners to get to know them. Workers of a cluster note their own questions."""
    for record in plan.from_cache():
        server = work.models.loaded(record)
        if server is not None and any((asked := work.models.asked(server)).values()):
            work.note(Asked(product=record.product, shard=0, asked=asked))


def _unmatched(machine: Machine, plan: Plan) -> str:
    """Say which of several GPUs of this machine draw nothing; empty if each draws for itself."""
    if machine.scheduler or len(plan.devices) < 2 or plan.task is None or plan.task.views is None or graphics.VARIABLE in os.environ:
        return ""
    lost = [device for device in plan.devices if device.startswith("cuda") and graphics.number(device) is None]
    return f"EGL does not tell which of its devices is {', '.join(lost)}: its first device draws for each" if lost else ""


def _spread(machine: Machine, plan: Plan) -> bool:
    """Whether other processes than this one run the models."""
    return bool(machine.scheduler) or len(plan.devices) > 1
