"""A Python that has imported what an image's containers need, and becomes them by forking.

Runs as the main process of a nursery (guest/init, src/sandbox): no network, a read-only root, no secrets. Standard input
is a SOCK_SEQPACKET socket to the worker. First comes the wish, a JSON object:

    preload  module names to import, always
    learnt   module names that earlier containers imported before their first input; third-party ones are imported
    denied   top-level names never to import

The answer is a JSON object of what became of it. After that every packet asks for a child: one byte and the descriptors
that src/sandbox/fork.h names. The child enters the waiting container's namespaces, reads its orders, becomes what
`python ARGUMENTS` would be there, and says so; or says why it cannot and ends, and the worker starts a plain one. A
parked child is asked for ahead: it enters, rehearses, says so, and waits for the second half of its orders.

Nothing of one container passes through here to another: the zygote reads no orders, keeps no descriptor and changes
nothing of itself for a child. docs/decisions/zygotes.md has the argument.
"""

import contextlib
import ctypes
import fcntl
import gc
import importlib
import importlib.machinery
import importlib.util
import json
import os
import signal
import socket
import struct
import sys
import time
from _thread import get_ident

LIBC = ctypes.CDLL(None, use_errno=True)
# What guest/zygote.c needs of the C library, in its order.
LIBC_NAMES = ("clone", "setns", "write", "fork", "_exit", "__errno_location", "syscall", "__rseq_offset", "__rseq_size")
# From the kernel's headers: clone flags, prctl and capset numbers.
NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
SPACES = NEWUSER | NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWPID | NEWNET
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 4, 22, 24, 38
SECCOMP_MODE_FILTER = 2
CAPSET = {"x86_64": 126, "aarch64": 91}
CAPABILITY_VERSION_3 = 0x20080522
LAST_CAPABILITY = 63

# src/sandbox/note.h
NOTE = struct.Struct("<iiiiiiq")
NOTE_FAILED, NOTE_MAIN, NOTE_STARTED, STEP_FORK = ord("F"), ord("M"), ord("S"), 20

# Read by C libraries and by the interpreter itself when they start: too late to change in a child.
EARLY = ("PYTHON", "LD_", "LANG", "LC_", "MALLOC_", "GLIBC_", "OMP_", "GOMP_", "KMP_", "OPENBLAS_", "MKL_", "BLIS_",
         "NUMEXPR_", "VECLIB_", "CUDA_", "NVIDIA_", "NCCL_", "TORCH_", "PYTORCH_", "OPENSSL_", "RUST_", "GRPC_")

REHEARSALS = 12

# What was true before anything was imported.
START_PATH = list(sys.path)
START_ENVIRONMENT = dict(os.environ)
with open("/proc/self/environ", "rb") as given:
    GIVEN = {part.partition(b"=")[0]: part.partition(b"=")[2] for part in given.read().split(b"\0") if part}
# What the interpreter itself has set: LC_CTYPE.
COERCED = {name: value for name, value in os.environ.items() if os.fsencode(name) not in GIVEN}
reads = {}  # environment variables that imports have read -> what they found


class Refusal(Exception):
    """This container cannot come from a fork: why, for the phases of its start."""


# --- before the first child -------------------------------------------------------------------------------------------

def watch_environment():
    """Notes which variables are read from here on; gives a function that stops it."""
    kind = type(os.environ)
    plain_get, plain_iter = kind.__getitem__, kind.__iter__

    def get(self, key):
        name = key.decode() if isinstance(key, bytes) else key
        if isinstance(name, str):
            reads.setdefault(name, START_ENVIRONMENT.get(name))
        return plain_get(self, key)

    def every(self):
        reads.setdefault("*", None)
        return plain_iter(self)

    kind.__getitem__, kind.__iter__ = get, every

    def stop():
        kind.__getitem__, kind.__iter__ = plain_get, plain_iter
    return stop


def state():
    """What an import must not change: threads, descriptors, children, signal handlers, shared memory, devices."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    with open("/proc/self/maps") as maps:
        device = any("/dev/nvidia" in line for line in maps)
    try:
        children = open("/proc/thread-self/children").read().split()
    except OSError:
        children = []
    return {"starts threads": len(os.listdir("/proc/self/task")) > 1,
            "keeps files or sockets open": set(os.listdir("/proc/self/fd")) - {"3"},
            "starts processes": bool(children),
            "handles signals": {number: handler for number, handler in handlers.items() if callable(handler)},
            "leaves shared memory": tuple(os.listdir("/dev/shm")),
            "opens a GPU": device}


def changed(before):
    end_threads()
    for what, now in state().items():
        if now != before[what]:
            return what
    return None


def end_threads():
    """A library that knows of forks ends its threads before one, and starts them again when it needs them (OpenBLAS)."""
    if len(os.listdir("/proc/self/task")) == 1:
        return
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    await_threads()


def await_threads():
    """Those that have been told to end need a moment."""
    deadline = time.monotonic() + 0.5
    while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < deadline:
        time.sleep(0.001)


def library_folders():
    """Where third-party modules and the standard library lie: never the app's own code."""
    import sysconfig
    found = {sysconfig.get_path(kind) for kind in ("purelib", "platlib", "stdlib", "platstdlib")}
    found |= {path for path in START_PATH if "site-packages" in path or "dist-packages" in path}
    found |= {"/__modal/deps", "/__modal/extras", "/pkg"}
    return tuple(os.path.realpath(path) + "/" for path in found if path)


def every_name(folders):
    """Of the folders, also by the paths that modules are found by."""
    return folders + tuple(path.rstrip("/") + "/" for path in START_PATH
                           if path and os.path.realpath(path) + "/" in folders)


def is_library(name, folders):
    spec = importlib.machinery.PathFinder.find_spec(name.partition(".")[0], sys.path)
    if spec is None:
        return False
    places = [spec.origin] if spec.origin and spec.has_location else list(spec.submodule_search_locations or [])
    return bool(places) and all(os.path.realpath(place).startswith(folders) for place in places)


def preload(wish):
    """Imports what is wished for; the answer names what was left out and why. A module that changed what it must not
    has to be forgotten by a fresh interpreter: then this does not return."""
    left_out = dict(wish.get("left_out", {}))
    stop, first = watch_environment(), state()
    for name in wish.get("preload", []):
        try:
            importlib.import_module(name)
        except Exception as error:
            if not (isinstance(error, ModuleNotFoundError) and name.startswith(error.name or "?")):  # not in the image
                left_out[name] = f"{type(error).__name__}: {error}"
    rehearse_often(rehearse, "the rehearsal", first, wish, left_out)
    folders, before, imported = library_folders(), state(), []
    for name in wish.get("learnt", []):
        if name in left_out or name in sys.modules:
            continue
        if name.partition(".")[0] in wish.get("denied", []):
            left_out[name] = "known not to survive a fork"
            continue
        if not is_library(name, folders):
            continue
        why = learn(name)
        what = changed(before)
        if what is not None:
            start_again(wish, {**left_out, name: what})
        if why is not None:
            left_out[name] = why
        else:
            imported.append(name)
    stop()  # what the client reads of the environment from here on, a container reads anew
    rehearse_often(rehearse_client, "the client's rehearsal", before, wish, left_out)
    return {"modules": len(sys.modules), "learnt": imported, "left_out": left_out}


def rehearse_often(act, name, before, wish, left_out):
    """Code that has run eight times is rewritten by the interpreter for what it has met (3.11): here, not in each child,
    which would have to copy it."""
    for _ in range(0 if name in left_out else REHEARSALS):
        act()
    what = changed(before)
    if what is not None and name not in left_out:
        start_again(wish, {**left_out, name: what})


def learn(name):
    known = dict(reads)
    try:
        importlib.import_module(name)
    except BaseException as error:  # a package may call sys.exit
        return f"{type(error).__name__}: {error}"
    if "*" in reads and "*" not in known:
        del reads["*"]
        return "reads the whole environment"
    return None


def start_again(wish, left_out):
    """The same program anew, with the wish in a file that it finds as descriptor 3."""
    wish = {**wish, "left_out": left_out}
    file = os.memfd_create("wish", 0)
    os.write(file, json.dumps(wish).encode())
    os.lseek(file, 0, os.SEEK_SET)
    os.dup2(file, 3)
    os.closerange(4, 1 << 16)
    os.execve(sys.executable, sys.orig_argv if hasattr(sys, "orig_argv") else original_arguments(), GIVEN)


def original_arguments():
    with open("/proc/self/cmdline", "rb") as file:
        return [os.fsdecode(part) for part in file.read().split(b"\0")[:-1]]


def first_wish(door):
    try:
        with open(3, "rb") as file:  # of start_again
            return json.loads(file.read())
    except OSError:
        return json.loads(door.recv(1 << 20))


def rehearse():
    """Builds the kind of app that the client builds for a web function and drives one request through it: lazy imports,
    caches and tables are then there for all children. What it leaves behind is let go: no thread, no loop, no file."""
    if "fastapi" not in sys.modules or "modal._runtime.asgi" not in sys.modules:
        return
    import asyncio
    answers = []

    def endpoint(data: dict):
        return data

    async def drive():
        app = sys.modules["modal._runtime.asgi"].magic_fastapi_app(endpoint, "POST", False)
        body = b'{"rehearsed": true}'
        scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.1"}, "http_version": "1.1",
                 "method": "POST", "scheme": "http", "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "",
                 "headers": [(b"host", b"localhost"), (b"content-type", b"application/json"),
                             (b"content-length", str(len(body)).encode())],
                 "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1), "state": {}}

        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message):
            answers.append(message)
        await app(scope, receive, send)
    try:
        asyncio.run(drive())
    except Exception:
        pass  # only warmth is lost
    await_threads()


def rehearse_client():
    """What the client does before it imports the app and around each input, against a server in this process's memory."""
    import asyncio
    import importlib.util
    import threading
    answers = {"ContainerHello": ("Empty", "Empty"),
               "FunctionGetInputs": ("FunctionGetInputsRequest", "FunctionGetInputsResponse"),
               "FunctionPutOutputs": ("FunctionPutOutputsRequest", "Empty"),
               "ContainerHeartbeat": ("ContainerHeartbeatRequest", "ContainerHeartbeatResponse"),
               "FunctionCallPutDataOut": ("FunctionCallPutDataRequest", "Empty")}

    async def drive():
        from google.protobuf.empty_pb2 import Empty
        from grpclib.const import Cardinality, Handler
        from grpclib.testing import ChannelFor
        from modal_proto import api_grpc, api_pb2

        def kind(name):
            return Empty if name == "Empty" else getattr(api_pb2, name)

        class Server:
            def __mapping__(self):
                def handler(asked, given):
                    async def serve(stream):
                        await stream.recv_message()
                        await stream.send_message(kind(given)())
                    return Handler(serve, Cardinality.UNARY_UNARY, kind(asked), kind(given))
                return {f"/modal.client.ModalClient/{name}": handler(*kinds) for name, kinds in answers.items()}
        async with ChannelFor([Server()]) as channel:
            stub = api_grpc.ModalClientStub(channel)
            for name, (asked, _) in answers.items():
                await getattr(stub, name)(kind(asked)())
    rehearse_app()
    try:
        thread = threading.Thread(target=lambda: asyncio.run(drive()))
        thread.start()
        thread.join()
        spec = importlib.util.find_spec("modal._container_entrypoint")
        exec(spec.loader.get_code(spec.name), {"__name__": "modal._container_entrypoint", "__package__": "modal"})
    except Exception:
        pass  # only warmth is lost
    await_threads()


APP = """
import modal
app = modal.App("rehearsal")
image = modal.Image.debian_slim().pip_install("rehearsal")
@app.function(image=image, timeout=600)
def plain(item):
    return item
@app.function(image=image, scaledown_window=2)
@modal.fastapi_endpoint(method="POST")
def web(item: dict):
    return item
@app.cls(image=image)
class Kind:
    @modal.enter()
    def begin(self):
        pass
    @modal.method()
    def act(self, item):
        return item
"""


def rehearse_app():
    """What the client does as an app's module is imported. It keeps a list of apps, from which this one is taken."""
    import types
    name = "gridiron_rehearsal"
    try:
        known = sys.modules["modal.app"]._App._all_apps
        before = dict(known)
        sys.modules[name] = module = types.ModuleType(name)
        module.__file__ = f"/root/{name}.py"
        try:
            exec(compile(APP, module.__file__, "exec"), module.__dict__)
        finally:
            del sys.modules[name]
            known.clear()
            known.update(before)
    except Exception:
        pass  # only warmth is lost


def prepare_to_fork():
    """Takes out what has to be executed freshly, and makes the rest cheap to share."""
    entry = sys.modules.pop("modal._container_entrypoint", None)
    if entry is not None:
        delattr(sys.modules["modal"], "_container_entrypoint")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the processes between reap themselves
    gc.collect()
    gc.freeze()


# --- children ---------------------------------------------------------------------------------------------------------

def serve(door, helper):
    addresses = [ctypes.cast(getattr(LIBC, name), ctypes.c_void_p) if hasattr(LIBC, name) else None for name in LIBC_NAMES]
    libc = (ctypes.c_void_p * len(LIBC_NAMES))(*addresses)
    while True:
        message, fds, _, _ = socket.recv_fds(door, 16, 16) if hasattr(socket, "recv_fds") else receive(door)
        if not message:
            return
        orders, talk, init, output, errors, *groups = fds
        imports = groups.pop(0) if message in (b"p", b"i") else None
        ctypes.pythonapi.PyOS_BeforeFork()
        forked = helper.forkInto(libc, init, SPACES, (ctypes.c_int * len(groups))(*groups), len(groups))
        if forked == 0:
            ctypes.pythonapi.PyOS_AfterFork_Child()
            be_child(message == b"p", door, talk, output, errors, orders, imports)
        ctypes.pythonapi.PyOS_AfterFork_Parent()
        if forked < 0:
            with contextlib.suppress(OSError):  # the worker no longer waits
                tell_refusal(talk, OSError(-forked, "enter the container's namespaces"))
        for fd in fds:
            os.close(fd)


def receive(door):
    """socket.recv_fds of Python 3.9 and later, for earlier ones."""
    import array
    message, extra, flags, address = door.recvmsg(16, socket.CMSG_LEN(16 * 4))
    fds = array.array("i")
    for _, _, data in extra:
        fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
    return message, list(fds), flags, address


def be_child(parked, door, talk, output, errors, orders, imports):
    """In the container, in all its namespaces."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        talk, orders, imports = take_streams(door, talk, output, errors, orders, imports)
        drop_privileges(*read_rights(orders))
        if parked:
            rehearse()
            rehearse_client()
            wait_for_go(talk)
        arguments, environment = become(orders)
        if parked:
            os.write(talk, NOTE.pack(NOTE_STARTED, 0, 0, 0, 0, 0, 0))
        else:
            wait_for_go(talk)
        os.close(talk)
        os.close(orders)
        if imports is not None:
            recorder = Recorder(imports)
            recorder.watch_hooks()
            sys.meta_path.insert(0, recorder)
    except BaseException as error:
        tell_refusal(talk, error)
        os._exit(70)
    run(arguments)


def wait_for_go(talk):
    os.write(talk, NOTE.pack(NOTE_MAIN, 0, 0, 0, os.getpid(), 0, 0))
    if os.read(talk, 1) != b"g":
        os._exit(70)


def become(orders):
    """The program that the orders name, short of its first line."""
    folder, arguments, environment = read_program(orders)
    check_environment(environment)
    os.chdir(folder)
    reset(arguments, environment)
    check_shadows()
    return arguments, environment


def tell_refusal(talk, error):
    """Nothing of the container's program has run."""
    text = str(error) if isinstance(error, Refusal) else f"{type(error).__name__}: {error}"
    note = NOTE.pack(NOTE_FAILED, STEP_FORK, getattr(error, "errno", 0) or 0, 0, 0, 0, 0)
    os.write(talk, note + text.encode(errors="replace")[:1000])


class Fields:
    """What lies in a memory file, one after another."""

    def __init__(self, file):
        self.data = os.pread(file, os.fstat(file).st_size, 0)
        self.at = 0

    def number(self):
        self.at += 4
        return struct.unpack_from("<I", self.data, self.at - 4)[0]

    def field(self):
        size = self.number()
        self.at += size
        return self.data[self.at - size:self.at]

    def text(self):
        return os.fsdecode(self.field())


def read_rights(orders):
    """(capabilities, filter program), the first fields."""
    fields = Fields(orders)
    return struct.unpack("<Q", fields.field())[0], fields.field()


def read_program(orders):
    """(working directory, arguments, environment), the fields behind them."""
    fields = Fields(orders)
    fields.field(), fields.field()
    folder = fields.text()
    arguments = [fields.text() for _ in range(fields.number())]
    environment = {fields.text(): fields.text() for _ in range(fields.number())}
    for name, value in COERCED.items():
        environment.setdefault(name, value)
    return folder, arguments, environment


def take_streams(door, talk, output, errors, orders, imports):
    """Gives the socket to the worker, the orders and the pipe for imports: far out of the way, all that is kept."""
    os.setsid()
    nothing = os.open("/dev/null", os.O_RDONLY)
    for fd, place in ((nothing, 0), (output, 1), (errors, 2)):
        os.dup2(fd, place)
    door.detach()
    kept = [None if fd is None else fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 1000) for fd in (talk, orders, imports)]
    os.closerange(3, min(fd for fd in kept if fd is not None))
    os.closerange(max(fd for fd in kept if fd is not None) + 1, 1 << 16)
    return kept


class Recorder:
    """Tells the worker, until it has heard enough and closes its end, of each module that is imported its name, and what
    the app's own modules and each package that they (or the client) import took: `name microseconds`, with ` own` behind
    the app's, less what they import. What a package imports is its own affair and costs it nothing here."""

    TIMED = (importlib.machinery.SourceFileLoader, importlib.machinery.SourcelessFileLoader,
             importlib.machinery.ExtensionFileLoader)  # one for each module

    def __init__(self, pipe):
        self.pipe = pipe
        self.thread = get_ident()
        self.package = False  # one is being imported
        self.nested = [0]     # ns of what each of the app's modules that are being imported has imported

    def tell(self, line):
        if self.pipe is None:
            return False
        try:
            os.write(self.pipe, line.encode() + b"\n")
        except OSError:
            os.close(self.pipe)
            self.pipe = None
            sys.meta_path.remove(self)
        return self.pipe is not None

    def find_spec(self, name, path=None, target=None):
        begun = time.monotonic_ns()
        if not self.tell(name) or self.package or get_ident() != self.thread:
            return None
        spec = None
        for finder in sys.meta_path:
            if spec is None and finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) in self.TIMED:
            own = not spec.origin.startswith(library_places)
            spec.loader.exec_module = self.timed(spec.loader, name, own, time.monotonic_ns() - begun)
        return spec

    def timed(self, loader, name, own, found):
        load = loader.exec_module

        def exec_module(module):
            del loader.exec_module
            if self.package or get_ident() != self.thread:
                return load(module)
            begun = time.monotonic_ns()
            self.package = not own
            self.nested.append(0)
            try:
                load(module)
            finally:
                self.package = False
                took = found + time.monotonic_ns() - begun
                alone = took - self.nested.pop()
                self.nested[-1] += took
                self.tell(f"{name} {alone // 1000} own" if own else f"{name} {took // 1000}")
        return exec_module

    def watch_hooks(self):
        """`@enter NANOSECONDS` is when the client looks for a class's hooks that run before its first input."""
        for module in ("modal._partial_function", "modal._runtime.user_code_imports"):
            plain = getattr(sys.modules.get(module), "_find_callables_for_obj", None)
            if plain is not None:
                sys.modules[module]._find_callables_for_obj = self.noted(sys.modules[module], plain)

    def noted(self, module, plain):
        def find(*args, **named):
            module._find_callables_for_obj = plain
            self.tell(f"@enter {time.monotonic_ns()}")
            return plain(*args, **named)
        return find


def check_environment(environment):
    for name in set(environment) | set(START_ENVIRONMENT):
        if name.startswith(EARLY) and environment.get(name) != START_ENVIRONMENT.get(name):
            raise Refusal(f"{name} is the container's own, and is read before a zygote's first import")
    for name, found in reads.items():
        if environment.get(name) != found:
            raise Refusal(f"{name} is the container's own, and was read by what the zygote imported")


def drop_privileges(capabilities, filter_program):
    for number in range(LAST_CAPABILITY + 1):
        if not capabilities >> number & 1 and LIBC.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            break  # beyond the last that this kernel knows
    header = struct.pack("<Ii", CAPABILITY_VERSION_3, 0)
    low, high = capabilities & 0xFFFFFFFF, capabilities >> 32
    data = struct.pack("<6I", low, low, 0, high, high, 0)
    if LIBC.syscall(CAPSET[os.uname().machine], header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    code = ctypes.create_string_buffer(filter_program, len(filter_program))
    program = struct.pack("<HxxxxxxQ", len(filter_program) // 8, ctypes.addressof(code))
    if LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def reset(arguments, environment):
    """What a fresh interpreter would have found out for itself."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.environ.clear()
    os.environ.update(environment)
    own = {os.path.abspath(path) for path in START_ENVIRONMENT.get("PYTHONPATH", "").split(os.pathsep) if path}
    rest = [path for path in START_PATH if path and path not in own]
    paths = []
    for path in environment.get("PYTHONPATH", "").split(os.pathsep):
        path = os.path.abspath(path)
        if path not in paths and path not in rest:
            paths.append(path)
    first = [os.getcwd()] if arguments[1] == "-m" else [""]
    sys.path[:] = first + paths + rest
    importlib.invalidate_caches()
    sys.argv[:] = [arguments[1]] + arguments[3:]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[:] = arguments
    time.tzset()
    reset_modules()


def reset_modules():
    """Random state and remembered identity of modules that take a fork for a child of the same program."""
    loaded = sys.modules
    if "platform" in loaded:
        loaded["platform"]._uname_cache = None
    if "tempfile" in loaded:
        loaded["tempfile"]._name_sequence = None
        loaded["tempfile"].tempdir = None
    if "multiprocessing.process" in loaded:
        process = loaded["multiprocessing.process"]
        process.current_process()._config["authkey"] = process.AuthenticationString(os.urandom(32))
    if "random" in loaded:
        loaded["random"].seed()
    if "numpy.random" in loaded:
        loaded["numpy.random"].seed()
    if "uuid" in loaded:
        loaded["uuid"]._node = loaded["uuid"]._last_timestamp = None


def check_shadows():
    """The container's own files that a fresh interpreter would have imported in place of what is here already."""
    tops = {name for name in sys.modules if "." not in name}
    site = sys.modules.get("site")
    if site and site.ENABLE_USER_SITE and site.USER_SITE not in sys.path and os.path.isdir(site.USER_SITE):
        raise Refusal("the container has a user site directory")
    for folder in sys.path:
        if folder in START_PATH and folder in library_paths:
            break
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            stem = name.partition(".")[0]
            if stem in tops and (name == stem or name.endswith((".py", ".so", ".pyc"))) and not is_same(stem, folder):
                raise Refusal(f"the app has a {stem} of its own")


def is_same(name, folder):
    module = sys.modules[name]
    file = getattr(module, "__file__", None)
    folders = [os.path.dirname(file), os.path.dirname(os.path.dirname(file))] if file else []
    if (folder or os.getcwd()) in folders:
        return True
    # A folder without __init__.py does not stand before a module further on.
    path = os.path.join(folder or ".", name)
    return os.path.isdir(path) and not os.path.exists(os.path.join(path, "__init__.py"))


def run(arguments):
    """As `python ARGUMENTS`, with the ending of an interpreter less the taking apart of what is in memory."""
    gc.enable()
    code = 0
    try:
        if arguments[1] == "-m":
            import runpy
            runpy._run_module_as_main(arguments[2])
        else:
            exec(compile(arguments[2], "<string>", "exec"), sys.modules["__main__"].__dict__)
    except SystemExit as ending:
        code = exit_code(ending)
    except BaseException as error:
        code = complain(error)
    import atexit
    import threading
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass
        os._exit(code)


def exit_code(ending):
    if ending.code is None:
        return 0
    if isinstance(ending.code, int):
        return ending.code & 0xFF
    print(ending.code, file=sys.stderr)
    return 1


def complain(error):
    """The traceback, from where the container's own program begins."""
    while error.__traceback__ is not None and error.__traceback__.tb_frame.f_globals is globals():
        error.__traceback__ = error.__traceback__.tb_next
    sys.excepthook(type(error), error, error.__traceback__)
    if isinstance(error, KeyboardInterrupt):
        sys.stderr.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return 1


def main():
    global library_paths, library_places
    gc.disable()
    helper = ctypes.PyDLL("/__modal/zygote.so")
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=0)
    library_paths = {path for path in START_PATH if path} - {
        os.path.abspath(path) for path in START_ENVIRONMENT.get("PYTHONPATH", "").split(os.pathsep) if path}
    report = preload(first_wish(door))
    library_places = every_name(library_folders())
    prepare_to_fork()
    report["took_ms"] = round(time.process_time() * 1000)
    door.send(json.dumps(report).encode())
    serve(door, helper)


if __name__ == "gridiron_zygote":
    main()
