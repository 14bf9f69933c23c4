"""Where work runs: in this process, or on dask workers. The bytes are the same.

catalog.run(work, Todo(cache, plan))
"""

from pipeline.executors import dask, here
from pipeline.plan import Again, Plan, Todo
from pipeline.work import Machine, Work
from pipeline.worker import Task


def check(machine: Machine) -> None:
    """Refuse a machine that cannot be, before anything is opened.

    Raises:
        UserError: the address of its scheduler is none.
    """
    dask.check_address(machine.scheduler)


def renderer(task: Task, machine: Machine) -> str:
    """What will draw the pictures, e.g. the GL driver's name, found by making one context; empty without views.

    Raises:
        UserError: nothing there can draw, or no scheduler answers.
    """
    return dask.renderer(task, machine.scheduler) if machine.scheduler else here.renderer(task)


def run(work: Work, todo: Todo) -> None:
    """Make what a plan lacks, and note in the journal what each shard cost.

    Raises:
        UserError: see `pipeline.commands.build_cache`.
    """
    work.terminal.begin(todo.totals(work.cache))
    if _spread(work.machine, todo.plan):
        dask.run(work, todo)
    else:
        here.run(work, todo)


def retry(work: Work, plan: Plan, again: Again) -> int:
    """Try failed shapes again. Returns how many are ok now. Raises as `run`."""
    work.terminal.begin({"shapes": sum(map(len, again.values()))})
    return dask.retry(work, plan, again) if _spread(work.machine, plan) else here.retry(work, plan, again)


def _spread(machine: Machine, plan: Plan) -> bool:
    """Whether more than this process is at work on the models."""
    return bool(machine.scheduler) or len(plan.devices) > 1
