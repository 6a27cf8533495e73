#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "fixture.h"

namespace gridiron::sandbox {
namespace fs = std::filesystem;

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr const char* kBootstrap =
    "exec(compile(open('/__modal/zygote.py').read(), '/__modal/zygote.py', 'exec'), {'__name__': 'gridiron_zygote'})";

// Containers that are forked from a zygote of the host's Python.
class Zygotes : public SandboxTest {
 protected:
  Result<std::shared_ptr<Zygote>> startZygote(const std::string& wish, Nanos patience = 20s) {
    Spec spec = shell("");
    spec.name = "zygote-" + std::to_string(++started_);
    spec.argv = {"python3", "-c", kBootstrap};
    spec.binds.push_back({GRIDIRON_ZYGOTE, "/__modal/zygote.py", true});
    spec.binds.push_back({GRIDIRON_ZYGOTE_HELPER, "/__modal/zygote.so", true});
    if (!module_.empty()) spec.lowers.insert(spec.lowers.begin(), module_);
    spec.environment = environment_;
    return sandboxes_->startZygote(spec, wish, patience, {});
  }
  std::shared_ptr<Zygote> zygote(const std::string& wish = R"({"preload": ["json", "random", "uuid"]})") {
    auto started = startZygote(wish);
    EXPECT_TRUE(started.ok()) << started.error().message;
    return started.ok() ? *started : nullptr;
  }
  // A container of it that runs `script`.
  Spec child(const std::shared_ptr<Zygote>& zygote, const std::string& script) {
    Spec spec = shell("");
    if (!module_.empty()) spec.lowers.insert(spec.lowers.begin(), module_);
    spec.argv = {"python3", "-c", script};
    spec.environment = environment_;
    spec.zygote = zygote;
    return spec;
  }
  // A third-party module of the image.
  void module(const std::string& name, const std::string& text) {
    module_ = directory_ + "/site";
    fs::create_directories(module_ + "/site-packages");
    std::ofstream(module_ + "/site-packages/" + name + ".py") << text;
    environment_ = {{"PATH", "/usr/local/bin:/usr/bin:/bin"}, {"PYTHONPATH", "/site-packages"}};
  }
  static std::string howStarted(const Sandbox& sandbox) {
    const Phase& last = sandbox.phases().back();
    return last.why.empty() ? last.name : last.name + ": " + last.why;
  }
  // Its output and how it began.
  std::pair<std::string, std::string> said(const Spec& spec) {
    auto started = start(spec);
    EXPECT_TRUE(started.ok()) << started.error().message;
    if (!started.ok()) return {};
    std::string out = readAll((*started)->takeStdout());
    const std::string errors = readAll((*started)->takeStderr());
    (*started)->wait();
    return {out + errors, howStarted(**started)};
  }

  std::string module_;
  std::vector<std::pair<std::string, std::string>> environment_{{"PATH", "/usr/local/bin:/usr/bin:/bin"}};
};

TEST_F(Zygotes, AContainerIsAForkThatHasWhatWasImported) {
  const auto parent = zygote();
  ASSERT_TRUE(parent);
  auto started = start(child(parent, "import sys; print('json' in sys.modules, __name__, sys.argv); sys.exit(7)"));
  ASSERT_TRUE(started.ok()) << started.error().message;
  EXPECT_EQ(howStarted(**started), "fork");
  EXPECT_EQ(readAll((*started)->takeStdout()), "True __main__ ['-c']\n");
  EXPECT_EQ(readAll((*started)->takeStderr()), "");
  EXPECT_EQ((*started)->wait().code, 7);
}

TEST_F(Zygotes, AForkLivesInItsOwnNamespacesWithAContainersPrivileges) {
  const auto parent = zygote();
  ASSERT_TRUE(parent);
  const std::string look =
      "import os,re\n"
      "status=open('/proc/self/status').read()\n"
      "for name in 'Uid Gid CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Seccomp_filters Groups'.split():\n"
      "  print(name, re.search(name+':(.*)', status).group(1).split() if name!='Seccomp_filters' else '')\n"
      "print(os.getpid(), os.uname().nodename, os.getcwd(), sorted(os.listdir('/proc/self/fd')),\n"
      "  [p for p in os.listdir('/proc') if p.isdigit()], os.getsid(0)==os.getpid(), os.readlink('/proc/1/exe'),\n"
      "  os.stat('/proc/self/environ').st_uid, dict(os.environ))\n";
  Spec plain = child(nullptr, look), forked = child(parent, look);
  for (Spec* spec : {&plain, &forked}) {
    spec->hostname = "grape";
    spec->workdir = "/root";
    spec->environment.emplace_back("COLOUR", "blue");
  }
  const auto exec = said(plain), fork = said(forked);
  EXPECT_EQ(fork.second, "fork");
  EXPECT_EQ(fork.first, exec.first);
  EXPECT_THAT(fork.first, HasSubstr("'COLOUR': 'blue'"));
}

TEST_F(Zygotes, AForkMayDoWhatAContainerMayAndNoMore) {
  const auto parent = zygote();
  ASSERT_TRUE(parent);
  const std::string attempt =
      "import os,ctypes,socket\n"
      "libc=ctypes.CDLL(None, use_errno=True)\n"
      "print(libc.unshare(0x20000), ctypes.get_errno())\n"
      "print(libc.setns(os.open('/proc/self/ns/uts', 0), 0), ctypes.get_errno())\n"
      "print(libc.mount(b'x', b'/tmp', b'tmpfs', 0, None), ctypes.get_errno())\n"
      "for what in ('/proc/sys/kernel/hostname', '/etc/made'):\n"
      "  try: open(what, 'w').write('x'); print('wrote', what)\n"
      "  except OSError as e: print(what, e.errno)\n"
      "os.chown('/etc/made', 1000, 1000); print(os.stat('/etc/made').st_uid)\n";
  const auto exec = said(child(nullptr, attempt)), fork = said(child(parent, attempt));
  EXPECT_EQ(fork.second, "fork");
  EXPECT_EQ(fork.first, exec.first);
}

// The process before it had no memory of its own, and the kernel forgets for such a one what it knows of its memory.
TEST_F(Zygotes, TheKernelKnowsAForksRestartableSequences) {
  const auto parent = zygote();
  ASSERT_TRUE(parent);
  const std::string attempt =
      "import ctypes, os\n"
      "libc = ctypes.CDLL(None, use_errno=True)\n"
      "libc.pthread_self.restype = ctypes.c_void_p\n"
      "known = hasattr(libc, '__rseq_offset') and ctypes.c_uint.in_dll(libc, '__rseq_size').value\n"
      "if not known or os.uname().machine != 'x86_64': print('busy'); raise SystemExit\n"
      "area = ctypes.c_void_p(libc.pthread_self() + ctypes.c_ssize_t.in_dll(libc, '__rseq_offset').value)\n"
      "failed = libc.syscall(334, area, 32, 0, 0x53053053)\n"
      "print('busy' if failed and ctypes.get_errno() == 16 else ('free', failed, ctypes.get_errno()))\n";
  EXPECT_EQ(said(child(parent, attempt)), std::make_pair(std::string("busy\n"), std::string("fork")));
}

TEST_F(Zygotes, WhatOneForkHasIsNotThereForTheNext) {
  const auto parent = zygote();
  ASSERT_TRUE(parent);
  Spec first = child(parent,
                     "import json,os,socket,sys,time\n"
                     "json.leak = os.environ['SECRET']; open('/root/file','w').write(os.environ['SECRET'])\n"
                     "open('/dev/shm/shared','w').write('x')\n"
                     "server = socket.socket(socket.AF_UNIX); server.bind('\\0secret-door'); server.listen(1)\n"
                     "port = socket.socket(); port.bind(('127.0.0.1', 7777)); port.listen(1)\n"
                     "print('ready', flush=True); time.sleep(60)");
  first.environment.emplace_back("SECRET", "swordfish-in-memory");
  auto started = start(first);
  ASSERT_TRUE(started.ok()) << started.error().message;
  ASSERT_EQ(howStarted(**started), "fork");
  ASSERT_EQ(readLine((*started)->takeStdout()), "ready");
  const auto second = said(child(
      parent,
      "import json,os,socket\n"
      "print(hasattr(json,'leak'), 'SECRET' in os.environ, os.path.exists('/root/file'), os.listdir('/dev/shm'))\n"
      "def tries(make, address):\n"
      "  try: make.connect(address); return 'connected'\n"
      "  except OSError as e: return e.strerror\n"
      "print(tries(socket.socket(socket.AF_UNIX), '\\0secret-door'), tries(socket.socket(), ('127.0.0.1',7777)))\n"
      "print(sorted(int(p) for p in os.listdir('/proc') if p.isdigit()))\n"
      "word = b'fish-in-memory'; found = 0\n"
      "mem = open('/proc/self/mem','rb',0)\n"
      "for line in open('/proc/self/maps'):\n"
      "  range_, mode = line.split()[:2]; a, b = (int(x,16) for x in range_.split('-'))\n"
      "  if 'r' not in mode or '[v' in line: continue\n"
      "  try: mem.seek(a); data = mem.read(b-a)\n"
      "  except (OSError, OverflowError): continue\n"
      "  found += (b'sword' + word) in data\n"
      "print(found)\n"));
  EXPECT_EQ(second.second, "fork");
  EXPECT_EQ(second.first, "False False False []\nConnection refused Connection refused\n[1, 2]\n0\n");
}

TEST_F(Zygotes, ForksDoNotShareRandomness) {
  const auto parent =
      zygote(R"({"preload": ["random", "uuid", "tempfile", "ssl", "multiprocessing.process", "secrets"]})");
  ASSERT_TRUE(parent);
  const std::string draw =
      "import random,uuid,tempfile,ssl,secrets,multiprocessing.process as p\n"
      "print(random.random(), uuid.uuid4(), next(tempfile._get_candidate_names()), ssl.RAND_bytes(8).hex(),\n"
      "  secrets.token_hex(8), bytes(p.current_process().authkey).hex())";
  const auto first = said(child(parent, draw)), second = said(child(parent, draw));
  EXPECT_EQ(first.second, "fork");
  EXPECT_EQ(second.second, "fork");
  std::istringstream a(first.first), b(second.first);
  int drawn = 0;
  for (std::string x, y; a >> x && b >> y; ++drawn) EXPECT_NE(x, y) << drawn;
  EXPECT_EQ(drawn, 6);
}

TEST_F(Zygotes, AForksEndIsToldAsItWas) {
  const auto parent = zygote();
  ASSERT_TRUE(parent);
  EXPECT_EQ(run(child(parent, "import os,signal; os.kill(os.getpid(), signal.SIGUSR1)")).exit.signal, SIGUSR1);
  const Ran failed = run(child(parent, "def f(): raise ValueError('no')\nf()"));
  EXPECT_EQ(failed.exit.code, 1);
  EXPECT_EQ(failed.err,
            "Traceback (most recent call last):\n  File \"<string>\", line 2, in <module>\n"
            "  File \"<string>\", line 1, in f\nValueError: no\n");
  Spec hungry = child(parent, "import time\nx=[]\nwhile True: x.append(bytearray(1<<20))");
  hungry.limits.memoryBytes = 64 << 20;
  const Ran starved = run(hungry);
  EXPECT_EQ(starved.exit.signal, SIGKILL);
  EXPECT_TRUE(starved.exit.outOfMemory);
}

TEST_F(Zygotes, WhenTheMainProcessEndsAllOfItsContainerDoes) {
  const auto parent = zygote();
  ASSERT_TRUE(parent);
  const Ran ran = run(child(parent, "import os,time\nif os.fork()==0: time.sleep(60)\nprint('gone')"));
  EXPECT_EQ(ran.out, "gone\n");
  EXPECT_EQ(ran.exit.code, 0);
}

TEST_F(Zygotes, SignalsReachAForkAndItsPidOneHandsThemOn) {
  const auto parent = zygote();
  ASSERT_TRUE(parent);
  const Ran ran =
      run(child(parent,
                "import os,signal,time\nsignal.signal(signal.SIGTERM, lambda *a: (print('term'), exit(3)))\n"
                "os.kill(1, signal.SIGTERM)\ntime.sleep(60)"));
  EXPECT_EQ(ran.out, "term\n");
  EXPECT_EQ(ran.exit.code, 3);
}

TEST_F(Zygotes, ContainersOutliveTheirZygoteAndTheNextIsStartedPlainly) {
  const auto parent = zygote();
  ASSERT_TRUE(parent);
  auto started =
      start(child(parent, "import sys,time; print('ready'); sys.stdout.flush(); time.sleep(0.2); sys.exit(4)"));
  ASSERT_TRUE(started.ok()) << started.error().message;
  ASSERT_EQ(readLine((*started)->takeStdout()), "ready");
  EXPECT_GT(parent->residentBytes(), 1 << 20);
  parent->retire();
  EXPECT_EQ((*started)->wait().code, 4);
  EXPECT_FALSE(parent->alive());
  EXPECT_EQ(parent->residentBytes(), 0);
  const auto next = said(child(parent, "print('plain')"));
  EXPECT_EQ(next.first, "plain\n");
  EXPECT_THAT(next.second, HasSubstr("exec: "));
}

TEST_F(Zygotes, AZygoteKilledInMidStartIsNoFailure) {
  module("slowly", "import os\nos.register_at_fork(after_in_child=lambda: os.kill(os.getppid(), 9))\n");
  const auto parent = zygote(R"({"preload": ["slowly"]})");
  ASSERT_TRUE(parent);
  const auto next = said(child(parent, "print('answered')"));
  EXPECT_EQ(next.first, "answered\n");
  EXPECT_FALSE(parent->alive());
}

TEST_F(Zygotes, AZygoteThatHangsIsGivenUp) {
  module("stuck", "import os,time\nos.register_at_fork(before=lambda: time.sleep(60))\n");
  const auto parent = zygote(R"({"preload": ["stuck"]})");
  ASSERT_TRUE(parent);
  const auto next = said(child(parent, "print('answered')"));
  EXPECT_EQ(next.first, "answered\n");
  EXPECT_EQ(next.second, "exec: the zygote took more than 2 s");
  EXPECT_FALSE(parent->alive());
}

TEST_F(Zygotes, WhatAnImportReadOfTheEnvironmentMustBeTheSame) {
  module("reader", "import os\nPLACE = os.environ.get('PLACE', 'none')\n");
  const auto parent = zygote(R"({"learnt": ["reader"]})");
  ASSERT_TRUE(parent);
  Spec same = child(parent, "import reader; print(reader.PLACE)"), other = same, early = same;
  other.name += "-other", early.name += "-early";
  other.environment.emplace_back("PLACE", "here");
  early.environment.emplace_back("OMP_NUM_THREADS", "1");
  EXPECT_EQ(said(same), std::make_pair(std::string("none\n"), std::string("fork")));
  EXPECT_EQ(said(other), std::make_pair(std::string("here\n"),
                                        std::string("exec: PLACE is the container's own, and was read by what the "
                                                    "zygote imported")));
  EXPECT_THAT(said(early).second, HasSubstr("exec: OMP_NUM_THREADS is the container's own"));
}

TEST_F(Zygotes, AnAppsOwnModuleIsNotReplacedByTheLibrarys) {
  module("helper", "WHOSE = 'the image'\n");
  const auto parent = zygote(R"({"learnt": ["helper"]})");
  ASSERT_TRUE(parent);
  const std::string app = directory_ + "/app";
  fs::create_directories(app + "/app");
  std::ofstream(app + "/app/helper.py") << "WHOSE = 'the app'\n";
  Spec spec = child(parent, "import helper; print(helper.WHOSE)");
  spec.workdir = "/app";
  spec.lowers.insert(spec.lowers.begin(), app);
  EXPECT_EQ(said(spec), std::make_pair(std::string("the app\n"), std::string("exec: the app has a helper of its own")));
}

TEST_F(Zygotes, ModulesThatDoNotSurviveAForkAreLeftOutAndNamed) {
  module("threads", "import threading,time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n");
  module("pool",
         "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(4)\n"
         "list(pool.map(abs, range(9)))\n");
  module("sockets", "import socket\nkept = socket.socket()\n");
  module("signals", "import signal\nsignal.signal(signal.SIGUSR2, lambda *a: None)\n");
  module("writes", "open('/root/cache', 'w')\n");
  module("quits", "raise SystemExit(3)\n");
  module("greedy", "import os\nall_of_it = dict(os.environ)\n");
  module("grpc", "");
  module("good", "import json\n");
  const auto parent = zygote(
      R"({"learnt": ["threads", "pool", "sockets", "signals", "writes", "quits", "greedy", "grpc", "absent", "good"],
          "denied": ["grpc"]})");
  ASSERT_TRUE(parent);
  const std::string report = parent->report();
  for (const char* part : {R"("learnt": ["good"])", R"("threads": "starts threads")", R"("pool": "starts threads")",
                           R"("sockets": "keeps files or sockets open")", R"("signals": "handles signals")",
                           R"("writes": "OSError: [Errno 30])", R"("quits": "SystemExit: 3")",
                           R"("greedy": "reads the whole environment")", R"("grpc": "known not to survive a fork")"}) {
    EXPECT_THAT(report, HasSubstr(part));
  }
  EXPECT_EQ(said(child(parent, "import sys; print('good' in sys.modules, 'threads' in sys.modules)")),
            std::make_pair(std::string("True False\n"), std::string("fork")));
}

TEST_F(Zygotes, AModuleThatEndsItsThreadsBeforeAForkIsKept) {
  module("careful", R"(
import os, threading
ending = threading.Event()
helper = threading.Thread(target=ending.wait, daemon=True)
helper.start()
def end():
    ending.set()
    helper.join()
os.register_at_fork(before=end)
)");
  const auto parent = zygote(R"({"learnt": ["careful"]})");
  ASSERT_TRUE(parent);
  EXPECT_THAT(parent->report(), HasSubstr(R"("learnt": ["careful"])"));
  EXPECT_EQ(said(child(parent, "import sys; print('careful' in sys.modules)")),
            std::make_pair(std::string("True\n"), std::string("fork")));
}

// Containers that are made before anybody says what they run.
class ParkedContainers : public Zygotes {
 protected:
  // Its layers and zygote are those of child(); what it imports is read from imports_.
  std::unique_ptr<Parked> park(const std::shared_ptr<Zygote>& zygote) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    imports_ = Fd(ends[0]);
    const Fd written(ends[1]);
    Spec spec = child(zygote, "");
    spec.name = "parked-" + std::to_string(++started_);
    spec.environment.clear();
    spec.limits.prompt = prompt_;
    spec.imports = written.get();
    auto parked = sandboxes_->park(spec, nullptr);
    EXPECT_TRUE(parked.ok()) << parked.error().message;
    return parked.ok() ? std::move(*parked) : nullptr;
  }
  Fd imports_;
  bool prompt_ = false;
};

TEST_F(ParkedContainers, OneBecomesWhatItIsTold) {
  const auto parent = zygote();
  const auto parked = park(parent);
  ASSERT_TRUE(parked);
  EXPECT_TRUE(parked->alive());
  Spec spec = child(parent, "import os, sys, wave; print(os.environ['WHO'], sys.argv, os.getcwd())");
  spec.environment.emplace_back("WHO", "me");
  spec.workdir = "/usr";
  auto started = parked->become(spec);
  ASSERT_TRUE(started.ok()) << started.error().message;
  EXPECT_FALSE(parked->alive()) << "it is the container now";
  EXPECT_EQ(howStarted(**started), "parked");
  EXPECT_EQ(readAll((*started)->takeStdout()), "me ['-c'] /usr\n");
  EXPECT_EQ((*started)->wait().code, 0);
  char names[4096] = {};
  EXPECT_GT(::read(imports_.get(), names, sizeof names - 1), 0);
  EXPECT_THAT(names, HasSubstr("wave\n"));
}

TEST_F(ParkedContainers, TheLimitsAreThoseOfWhatItBecomes) {
  const auto parent = zygote();
  const auto parked = park(parent);
  ASSERT_TRUE(parked);
  Spec spec = child(parent, "held = bytearray(256 << 20)");
  spec.limits.memoryBytes = 64 << 20;
  auto started = parked->become(spec);
  ASSERT_TRUE(started.ok()) << started.error().message;
  EXPECT_TRUE((*started)->wait().outOfMemory);
}

TEST_F(ParkedContainers, OneBecomesPromptAndLeavesNothing) {
  const auto parent = zygote();
  const auto before = traces(options_.instance, options_.stateDirectory);
  const auto parked = park(parent);
  ASSERT_TRUE(parked);
  Spec spec = child(parent, "import time; time.sleep(60)");
  spec.limits.prompt = true;
  auto started = parked->become(spec);
  ASSERT_TRUE(started.ok()) << started.error().message;
  const auto groups = readFile("/proc/" + std::to_string((*started)->pid()) + "/cgroup");
  ASSERT_TRUE(groups.ok());
  EXPECT_THAT(*groups, HasSubstr("/prompt/"));
  started->reset();
  EXPECT_EQ(traces(options_.instance, options_.stateDirectory), before);
}

TEST_F(ParkedContainers, OneThatWillBePromptIsAmongThoseThatAreAlready) {
  const auto parent = zygote();
  prompt_ = true;
  const auto parked = park(parent);
  ASSERT_TRUE(parked);
  EXPECT_THAT(traces(options_.instance, options_.stateDirectory), testing::Contains(HasSubstr("/prompt/parked-")));
  Spec spec = child(parent, "print('hello')");
  spec.limits.prompt = true;
  const auto started = parked->become(spec);
  ASSERT_TRUE(started.ok()) << started.error().message;
  EXPECT_EQ(readAll((*started)->takeStdout()), "hello\n");
}

TEST_F(ParkedContainers, OneThatCannotBecomeItSaysWhyAndLeavesNothing) {
  const auto parent = zygote();
  const auto before = traces(options_.instance, options_.stateDirectory);
  auto parked = park(parent);
  ASSERT_TRUE(parked);
  Spec spec = child(parent, "print(1)");
  spec.environment.emplace_back("OMP_NUM_THREADS", "1");
  const auto started = parked->become(spec);
  ASSERT_FALSE(started.ok());
  EXPECT_THAT(started.error().message, HasSubstr("OMP_NUM_THREADS"));
  parked.reset();
  EXPECT_EQ(traces(options_.instance, options_.stateDirectory), before);
}

TEST_F(ParkedContainers, OneThatIsDroppedIsGone) {
  const auto parent = zygote();
  const auto before = traces(options_.instance, options_.stateDirectory);
  auto parked = park(parent);
  ASSERT_TRUE(parked);
  EXPECT_GT(parked->privateBytes(), 100'000);
  parked.reset();
  EXPECT_EQ(traces(options_.instance, options_.stateDirectory), before);
}

TEST_F(Zygotes, NothingIsLeftOfThem) {
  const auto before = traces(options_.instance, options_.stateDirectory);
  {
    const auto parent = zygote();
    ASSERT_TRUE(parent);
    for (int i = 0; i < 20; ++i) EXPECT_EQ(said(child(parent, "print(1)")).second, "fork");
  }
  EXPECT_EQ(traces(options_.instance, options_.stateDirectory), before);
}

std::size_t entriesOf(const std::string& directory) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

// GRIDIRON_MANY_STARTS=2000 for the long run.
TEST_F(Zygotes, ManyStartsLeaveNoDescriptorsProcessesOrMemoryBehind) {
  const auto parent = zygote();
  ASSERT_TRUE(parent);
  const char* many = std::getenv("GRIDIRON_MANY_STARTS");
  const int starts = many == nullptr ? 60 : std::atoi(many);
  std::size_t fds = 0;
  std::set<std::string> left;
  std::int64_t memory = 0;
  for (int i = 0; i < starts; ++i) {
    if (i == 20) {  // all that is made once has been
      fds = entriesOf("/proc/self/fd");
      left = traces(options_.instance, options_.stateDirectory);
      memory = parent->residentBytes();
    }
    ASSERT_EQ(said(child(parent, "pass")), std::make_pair(std::string(), std::string("fork"))) << i;
  }
  EXPECT_EQ(entriesOf("/proc/self/fd"), fds);
  EXPECT_EQ(traces(options_.instance, options_.stateDirectory), left);
  EXPECT_LT(parent->residentBytes() - memory, 1 << 20);
  EXPECT_EQ(said(child(parent, "import os; print(sorted(p for p in os.listdir('/proc') if p.isdigit()))")).first,
            "['1', '2']\n");
  int below = 0;  // of this test: the zygote's init, the zygote, and no zombies
  for (const auto& entry : fs::directory_iterator("/proc/self/task")) {
    std::ifstream children(entry.path() / "children");
    for (int pid; children >> pid;) ++below;
  }
  EXPECT_EQ(below, 1);
}

TEST_F(Zygotes, OneThatCannotStartSaysItsLastWords) {
  const auto started = startZygote("no wish at all");
  ASSERT_FALSE(started.ok());
  EXPECT_THAT(started.error().message, HasSubstr("JSONDecodeError"));
  EXPECT_TRUE(traces(options_.instance, options_.stateDirectory).empty());
}

}  // namespace gridiron::sandbox
