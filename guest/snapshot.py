"""The client's entrypoint in a container whose process may be kept as a memory snapshot, or goes on from one: all copies
of a process have the random state that it had, so it is drawn anew when one goes on."""

import os
import runpy
import sys


def renew():
    """For what draws from the kernel (os.urandom, secrets, uuid4) there is nothing to do."""
    loaded = sys.modules
    if "random" in loaded:
        loaded["random"].seed()
    if "tempfile" in loaded:
        loaded["tempfile"]._name_sequence = None
    if "uuid" in loaded:
        loaded["uuid"]._node = loaded["uuid"]._last_timestamp = None
    if "ssl" in loaded:
        loaded["ssl"].RAND_add(os.urandom(64), 64.0)
    if "numpy.random" in loaded:
        loaded["numpy.random"].seed()
    if "torch" in loaded:
        loaded["torch"].seed()


def manager():
    """The class of the client that waits for a snapshot's restore: it differs from version to version."""
    try:
        from modal._runtime.task_lifecycle_manager import _TaskLifecycleManager as found
    except ImportError:
        from modal._runtime.container_io_manager import _ContainerIOManager as found
    return found


def install():
    owner = manager()
    wait = owner.memory_restore

    async def memory_restore(self):
        await wait(self)
        try:
            renew()
        except Exception as error:  # a library that is not what its name says
            print(f"After the restore not all random state is new: {error!r}", file=sys.stderr, flush=True)

    owner.memory_restore = memory_restore


def main():
    install()
    if os.environ.get("GRIDIRON_LANE"):
        path = "/__modal/fast_lane.py"
        with open(path) as file:
            program = compile(file.read(), path, "exec")
        exec(program, {"__name__": "gridiron_lane"})
    else:
        sys.path[0] = os.getcwd()
        sys.argv[:] = ["-m"]
        runpy._run_module_as_main("modal._container_entrypoint")


if __name__ == "gridiron_snapshot":
    main()
