// What a container answers by the client's own loop, and what a request becomes for it.
#include "wire/asgi.h"

#include "tests/fuzz/fuzz.h"
#include "wire/pickle.h"

FUZZ(asgi) {
  using namespace gridiron;
  const auto event = wire::readResponseEvent(bytes);
  if (event.ok() && std::holds_alternative<wire::ResponseStart>(*event)) {
    const int status = std::get<wire::ResponseStart>(*event).status;
    fuzz::require(status >= 100 && status <= 999, "a status");
  }
  const std::string text = wire::toValidUtf8(bytes);
  fuzz::require(wire::toValidUtf8(text) == text, "what is valid stays as it is");
  wire::HttpScope scope;
  scope.method = scope.path = scope.query = bytes;
  scope.headers.emplace_back(std::string(bytes), std::string(bytes));
  fuzz::require(wire::pickleScope(scope).ends_with('.'), "a pickle has its end");
}
