#include "wire/pickle.h"

#include <gtest/gtest.h>

#include "base/digest.h"
#include "base/subprocess.h"
#include "wire/asgi.h"

namespace gridiron::wire {
namespace {

// What Python makes of a pickle: its repr.
std::string readByPython(const std::string& pickle) {
  Command command;
  command.argv = {"python3", "-c",
                  "import sys, base64, pickle\n"
                  "print(ascii(pickle.loads(base64.b64decode(sys.stdin.read()))), end='')"};
  command.input = base64Encode(pickle);
  Result<Finished> finished = runCommand(command);
  if (!finished.ok()) return finished.error().message;
  return finished->output;
}

TEST(Pickle, WritesTheBytesOfProtocolThree) {
  PickleWriter w;
  w.dict();
  w.text("n");
  w.integer(-2);
  w.setItem();
  EXPECT_EQ(std::move(w).finish(), std::string("\x80\x03}X\x01\0\0\0nJ\xfe\xff\xff\xffs.", 16));
}

TEST(Pickle, PythonReadsBackEveryKindOfValue) {
  PickleWriter w;
  w.list();
  w.none();
  w.append();
  w.boolean(true);
  w.append();
  w.integer(5'000'000'000);
  w.append();
  w.integer(-5'000'000'000);
  w.append();
  w.text("gr\xc3\xbc\xc3\x9f");
  w.append();
  w.bytes(std::string("\0\xff", 2));
  w.append();
  w.integer(1);
  w.tuple1();
  w.integer(2);
  w.tuple2();
  w.append();
  EXPECT_EQ(readByPython(std::move(w).finish()),
            "[None, True, 5000000000, -5000000000, 'gr\\xfc\\xdf', b'\\x00\\xff', ((1,), 2)]");
}

TEST(Pickle, BytesThatAreNoTextBecomeReplacementCharacters) {
  EXPECT_EQ(toValidUtf8("a\xff\xfe"
                        "b"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(toValidUtf8("\xed\xa0\x80"), "\xEF\xBF\xBD");  // a surrogate
  EXPECT_EQ(toValidUtf8("\xc0\xaf"), "\xEF\xBF\xBD");      // an overlong slash
  EXPECT_EQ(toValidUtf8("\xf0\x9f\xa6\x80"), "\xf0\x9f\xa6\x80");
  EXPECT_EQ(toValidUtf8("cut \xe2\x82"), "cut \xEF\xBF\xBD");
}

TEST(Pickle, AScopeReachesPythonAsArgumentsOfAnAsgiApp) {
  HttpScope scope;
  scope.httpVersion = "2";
  scope.method = "POST";
  scope.path = "/caf\xc3\xa9";
  scope.rawPath = "/caf%C3%A9";
  scope.query = "x=1";
  scope.headers = {{"host", "me--app.localhost"}, {"x-raw", "\xff"}};
  scope.clientHost = "10.0.0.7";
  scope.clientPort = 4711;
  EXPECT_EQ(readByPython(pickleScope(scope)),
            "(({'type': 'http', 'http_version': '2', 'method': 'POST', 'scheme': 'http', 'path': '/caf\\xe9', "
            "'raw_path': b'/caf%C3%A9', 'query_string': b'x=1', 'root_path': '', "
            "'headers': [(b'host', b'me--app.localhost'), (b'x-raw', b'\\xff')], 'client': ('10.0.0.7', 4711), "
            "'asgi': {'version': '3.0', 'spec_version': '2.3'}},), {})");
}

}  // namespace
}  // namespace gridiron::wire
