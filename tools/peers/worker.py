"""What the peers' processes have in common: they do what `run` tells them, a line of JSON each way, and nothing in between."""
import json
import os
import sys
import time

THREADS = len(os.sched_getaffinity(0))


def serve(prepare):
    """`prepare(spec)` returns a function that does the work once, and what is to be told about it.

    {"prepare": key, ...spec}  prepares, and answers what is told
    {"run": key, "times": n}   runs it n times, and answers {"ms": [...]}
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not stand among the answers
    prepared = {}
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if "prepare" in order:
                key = order.pop("prepare")
                prepared[key], answer = prepare(order)
            else:
                answer = {"ms": [timed(prepared[order["run"]]) for _ in range(order["times"])]}
        except Exception as error:  # of a library, of any kind: that row's result
            answer = {"error": f"{type(error).__name__}: {(str(error).strip() or '?').splitlines()[0][:150]}"}
        print(json.dumps(answer), file=answers, flush=True)


def timed(work):
    begin = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - begin)
