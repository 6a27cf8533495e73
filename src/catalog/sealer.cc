#include "catalog/sealer.h"

#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/fd.h"

namespace gridiron {

namespace {

constexpr std::size_t kNonce = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
constexpr std::size_t kTag = crypto_aead_xchacha20poly1305_ietf_ABYTES;

const unsigned char* bytes(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }
unsigned char* bytes(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

void initialise() { GRID_CHECK(sodium_init() >= 0); }

}  // namespace

Sealer::~Sealer() { sodium_memzero(key_.data(), key_.size()); }

Result<Sealer> Sealer::open(const std::string& path) {
  initialise();
  Key key{};
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    if (errno != ENOENT) return errnoError("look at key file " + path);
    randombytes_buf(key.data(), key.size());
    const std::string text = hexEncode({reinterpret_cast<const char*>(key.data()), key.size()}) + "\n";
    RETURN_IF_ERROR(writeFileAtomic(path, text, 0600, Durable::yes));
    return Sealer(key);
  }
  if ((info.st_mode & 077) != 0) {
    return makeError(Code::failedPrecondition, "key file {} may be read by others (mode {:o}): make it 0600", path,
                     info.st_mode & 0777u);
  }
  ASSIGN_OR_RETURN(std::string text, readFile(path));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  std::size_t size = 0;
  if (sodium_hex2bin(key.data(), key.size(), text.data(), text.size(), nullptr, &size, nullptr) != 0 ||
      size != key.size() || text.size() != 2 * key.size()) {
    return makeError(Code::dataLoss, "key file {} does not hold 64 hex digits", path);
  }
  return Sealer(key);
}

Sealer Sealer::ephemeral() {
  initialise();
  Key key{};
  randombytes_buf(key.data(), key.size());
  return Sealer(key);
}

std::string Sealer::seal(std::string_view plain, std::string_view context) const {
  std::string out(kNonce + plain.size() + kTag, '\0');
  randombytes_buf(out.data(), kNonce);
  unsigned long long size = 0;
  crypto_aead_xchacha20poly1305_ietf_encrypt(bytes(out) + kNonce, &size, bytes(plain), plain.size(), bytes(context),
                                             context.size(), nullptr, bytes(out), key_.data());
  return out;
}

Result<std::string> Sealer::unseal(std::string_view sealed, std::string_view context) const {
  const Error damaged =
      makeError(Code::dataLoss, "the sealed value of {} cannot be opened with the grid's key", context);
  if (sealed.size() < kNonce + kTag) return damaged;
  std::string out(sealed.size() - kNonce - kTag, '\0');
  unsigned long long size = 0;
  if (crypto_aead_xchacha20poly1305_ietf_decrypt(bytes(out), &size, nullptr, bytes(sealed) + kNonce,
                                                 sealed.size() - kNonce, bytes(context), context.size(), bytes(sealed),
                                                 key_.data()) != 0) {
    return damaged;
  }
  return out;
}

std::string Sealer::sign(std::string_view purpose, std::string_view data) const {
  Key derived{};
  crypto_generichash(derived.data(), derived.size(), bytes(purpose), purpose.size(), key_.data(), key_.size());
  std::string out(crypto_auth_hmacsha256_BYTES, '\0');
  crypto_auth_hmacsha256(bytes(out), bytes(data), data.size(), derived.data());
  sodium_memzero(derived.data(), derived.size());
  return out;
}

std::string makeJwt(const Sealer& sealer, std::string_view claims) {
  const std::string body = base64UrlEncode(R"({"alg":"HS256","typ":"JWT"})") + "." + base64UrlEncode(claims);
  return body + "." + base64UrlEncode(sealer.sign("jwt", body));
}

Result<std::string> readJwt(const Sealer& sealer, std::string_view token) {
  const auto second = token.rfind('.');
  const auto first = token.find('.');
  const Error wrong{Code::unauthenticated, "this auth token is not of this grid"};
  if (first == std::string_view::npos || first == second) return wrong;
  const auto signature = base64Decode(token.substr(second + 1));
  if (!signature || !equalConstantTime(*signature, sealer.sign("jwt", token.substr(0, second)))) return wrong;
  const auto claims = base64Decode(token.substr(first + 1, second - first - 1));
  if (!claims) return wrong;
  return *claims;
}

}  // namespace gridiron
