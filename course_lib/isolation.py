"""Checks in processes of their own, so that no crash or endless loop reaches the others."""

import contextlib
import multiprocessing
import sys
from multiprocessing.connection import Connection

from course_lib.checking import Check, Result
from course_lib.checks import checks_of


def run_apart(check: Check, seed: int) -> Result:
    """Run one check in its own process; a crash or a hang becomes a result that says so."""
    context = multiprocessing.get_context("forkserver")
    # torch imports its compiler with the first optimizer, a second that only the server pays.
    context.set_forkserver_preload(["course_lib.checking", "torch._dynamo"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send_result, args=(check.module, check.exercise, seed, sender))
    process.start()
    sender.close()
    # The check has its own time limit; this one ends code that swallows every exception.
    try:
        if receiver.poll(check.seconds):
            return receiver.recv()
        return check.refused(
            f"It was still running after {check.seconds:g} seconds and was stopped"
        )
    except EOFError:
        process.join()
        return check.refused(f"The process ended while it ran ({ending(process.exitcode)})")
    finally:
        process.kill()
        process.join()


def send_result(module: str, exercise: str, seed: int, sender: Connection) -> None:
    for check in checks_of(module):
        if check.exercise == exercise:
            with contextlib.redirect_stdout(sys.stderr):  # the command's own output stays clean
                result = check(seed=seed)
            sender.send(result)


def ending(exit_code: int | None) -> str:
    return f"signal {-exit_code}" if exit_code and exit_code < 0 else f"exit code {exit_code}"
