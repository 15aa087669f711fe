"""`python -m simulation --histories 10000 --seed 0 --hosts runner,batcher`: runs histories on all cores."""

import argparse
import hashlib
import logging
import os
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor

from simulation.simulate import HOSTS, plan_of, run, shrunk

_CHUNK = 50


def _quiet() -> None:
    logging.getLogger("batch_bridge").setLevel(logging.CRITICAL)


def _work(host: str, seeds: range) -> tuple[list[tuple[str, int, str]], bytes]:
    """Run histories of a host; returns those that failed, and a digest of all that happened in all of them."""
    failed = []
    digest = hashlib.blake2b(digest_size=8)
    for seed in seeds:
        ran = run(plan_of(host, seed))
        digest.update(repr((ran.trace, ran.fired, ran.steps, sorted(ran.calls.items()))).encode())
        if ran.error is not None:
            failed.append((host, seed, f"{type(ran.error).__name__}: {ran.error}"))
    return failed, digest.digest()


def main() -> int:
    """Run histories; 1 if one has failed."""
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--histories", type=int, default=10_000, help="how many, of all hosts together")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--hosts", default=",".join(HOSTS), help="which hosts")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--show", action="store_true", help="print the trace and the traceback of the first seed")
    parser.add_argument("--stop", type=int, default=5, help="stop after so many failures")
    given = parser.parse_args()
    hosts = given.hosts.split(",")
    if given.show:
        logging.getLogger("batch_bridge").setLevel(logging.INFO)
        ran = run(plan_of(hosts[0], given.seed))
        print(*ran.trace, sep="\n")
        print(ran.plan, ran.calls, ran.steps)
        if ran.error is not None:
            traceback.print_exception(ran.error)
        return int(ran.error is not None)
    _quiet()
    started = time.perf_counter()
    each = -(-given.histories // len(hosts))
    chunks = [
        (host, range(start, min(start + _CHUNK, given.seed + each)))
        for start in range(given.seed, given.seed + each, _CHUNK)
        for host in hosts
    ]
    failed: list[tuple[str, int, str]] = []
    done = 0
    digest = hashlib.blake2b(digest_size=8)
    with ProcessPoolExecutor(given.jobs, initializer=_quiet) as pool:
        for chunk, (found, told) in zip(chunks, pool.map(_work, *zip(*chunks, strict=True)), strict=True):
            done += len(chunk[1])
            failed += found
            digest.update(told)
            if len(failed) >= given.stop:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    for host, seed, why in failed[: given.stop]:
        print(f"FAILED {host} seed {seed}: {why}\n  shrunk: {shrunk(plan_of(host, seed))}")
        print(f"  again: make simulate ARGS='--hosts {host} --seed {seed} --show'")
    spent = time.perf_counter() - started
    print(f"{done} histories, {len(failed)} failed, {spent:.0f} s, {1000 * spent / max(done, 1):.1f} ms each")
    print(f"digest of all that happened: {digest.hexdigest()} (the same seeds give the same)")
    return int(bool(failed))


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # a set of names has another order in another process
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "simulation", *sys.argv[1:]])
    sys.exit(main())
