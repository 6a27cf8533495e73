#include "net/tls.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <cstdlib>
#include <thread>

#include "base/testing.h"
#include "net/door.h"
#include "net/grpc.h"

namespace gridiron::net {
namespace {

using namespace std::chrono_literals;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A certificate that signs itself, in files that go with it.
class Certificate {
 public:
  explicit Certificate(const std::string& host = "localhost") {
    files.certificate = folder_.path() + "/cert.pem";
    files.key = folder_.path() + "/key.pem";
    make(host);
  }
  Certificate(const Certificate&) = delete;
  Certificate& operator=(const Certificate&) = delete;
  TlsFiles files;

  // Another key and certificate in the same files.
  void make(const std::string& host) {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* x509 = X509_new();
    X509_set_version(x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_set_pubkey(x509, key);
    X509_NAME* name = X509_get_subject_name(x509);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(host.c_str()), -1, -1,
                               0);
    X509_set_issuer_name(x509, name);
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, x509, x509, nullptr, nullptr, 0);
    const std::string names = "DNS:" + host;
    for (const auto& [nid, value] :
         {std::pair(NID_subject_alt_name, names.c_str()), std::pair(NID_basic_constraints, "critical,CA:TRUE")}) {
      X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &ctx, nid, value);
      X509_add_ext(x509, extension, -1);
      X509_EXTENSION_free(extension);
    }
    X509_sign(x509, key, EVP_sha256());
    FILE* out = std::fopen(files.certificate.c_str(), "w");
    PEM_write_X509(out, x509);
    std::fclose(out);
    out = std::fopen(files.key.c_str(), "w");
    PEM_write_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(out);
    X509_free(x509);
    EVP_PKEY_free(key);
  }

 private:
  const TemporaryDirectory folder_;
};

std::string nameIn(X509* certificate) {
  char name[256] = "";
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name, sizeof(name));
  return name;
}

// A client of its own thread: sends `request`, gives what it was answered; `alpn` in wire form, empty for none.
// `shown` becomes the name in the certificate that the server showed to who asks for `name`.
std::string askOverTls(int port, const std::string& alpn, const std::string& request, std::string* selected,
                       const std::string& name = "", std::string* shown = nullptr) {
  SSL_CTX* ctx = SSL_CTX_new(TLS_client_method());
  SSL* ssl = SSL_new(ctx);
  if (!alpn.empty()) {
    SSL_set_alpn_protos(ssl, reinterpret_cast<const unsigned char*>(alpn.data()), static_cast<unsigned>(alpn.size()));
  }
  if (!name.empty()) SSL_set_tlsext_host_name(ssl, name.c_str());
  const Fd fd(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<std::uint16_t>(port));
  std::string heard;
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0 && SSL_set_fd(ssl, fd.get()) == 1 &&
      SSL_connect(ssl) == 1) {
    const unsigned char* protocol = nullptr;
    unsigned length = 0;
    SSL_get0_alpn_selected(ssl, &protocol, &length);
    if (selected != nullptr) selected->assign(reinterpret_cast<const char*>(protocol), length);
    if (shown != nullptr) *shown = nameIn(SSL_get0_peer_certificate(ssl));
    SSL_write(ssl, request.data(), static_cast<int>(request.size()));
    char buffer[4096];
    for (int n = 0; (n = SSL_read(ssl, buffer, sizeof(buffer))) > 0;) heard.append(buffer, static_cast<std::size_t>(n));
  }
  SSL_free(ssl);
  SSL_CTX_free(ctx);
  return heard;
}

constexpr const char* kGet = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

class Tls : public ::testing::Test {
 protected:
  Tls() {
    DoorOptions options;
    options.tls = {certificate_.files, other_.files};
    options.onCertificates = [this](const Result<void>& read) {
      read_.push_back(read.ok() ? "" : read.error().message);
    };
    door_ = std::make_unique<Door>(io_, options, [](std::shared_ptr<Exchange> exchange) -> Task<void> {
      if (isGrpc(exchange->head())) {
        GrpcServerCall call(std::move(exchange));
        auto message = co_await call.read();
        if (message.ok() && message->has_value()) (void)co_await call.finish({}, std::move(**message));
        co_return;
      }
      (void)co_await exchange->answer(200, {}, "by " + exchange->head().scheme);
    });
    auto address = door_->listen("127.0.0.1:0");
    EXPECT_TRUE(address.ok()) << address.error().message;
    port_ = std::stoi(address->substr(address->rfind(':') + 1));
  }
  ~Tls() override {
    door_.reset();
    io_.run_for(20ms);
  }

  // The name in the certificate that who asks for `name` is shown.
  std::string shownTo(const std::string& name) {
    std::string shown;
    ask("", kGet, nullptr, name, &shown);
    return shown;
  }

  std::string ask(const std::string& alpn, const std::string& request, std::string* selected = nullptr,
                  const std::string& name = "", std::string* shown = nullptr) {
    std::string heard;
    std::atomic<bool> done = false;
    std::thread client([&] {
      heard = askOverTls(port_, alpn, request, selected, name, shown);
      done = true;
    });
    const auto limit = std::chrono::steady_clock::now() + 20s;
    while (!done && std::chrono::steady_clock::now() < limit) io_.run_one_for(5ms);
    if (!done) door_.reset();  // ends the client
    client.join();
    return heard;
  }

  Result<std::string> echo(const std::string& url, const std::string& caFile, std::string message) {
    GrpcChannel channel(io_, url, caFile);
    std::optional<Result<std::string>> answer;
    spawn(io_, [](GrpcChannel* to, std::string text, std::optional<Result<std::string>>* out) -> Task<void> {
      *out = co_await to->unary("/a.B/Echo", {}, std::move(text), 20s);
    }(&channel, std::move(message), &answer));
    while (!answer) io_.run_one_for(1s);
    return *answer;
  }

  asio::io_context io_;
  Certificate certificate_;
  Certificate other_{"*.hooks.example"};
  std::vector<std::string> read_;  // of changed files: "" or what is wrong with them
  std::unique_ptr<Door> door_;
  int port_ = 0;
};

TEST_F(Tls, Http1IsServedWithAndWithoutAlpn) {
  std::string selected;
  EXPECT_THAT(ask("\x08http/1.1", kGet, &selected), EndsWith("by https"));
  EXPECT_EQ(selected, "http/1.1");
  EXPECT_THAT(ask("", kGet, &selected), EndsWith("by https"));
  EXPECT_EQ(selected, "");
  EXPECT_THAT(ask("\x03foo", kGet, &selected), EndsWith("by https"));
  EXPECT_EQ(selected, "");
}

TEST_F(Tls, Http2IsSelectedWhenOfferedAndRecognisedWhenNot) {
  const std::string hello = std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") + std::string("\0\0\0\4\0\0\0\0\0", 9) +
                            std::string("\0\0\x08\7\0\0\0\0\0\0\0\0\0\0\0\0\0", 17);  // GOAWAY: answered by the end
  const std::string kSettings("\0\0\x18\4\0\0\0\0\0", 9);                             // four of them
  std::string selected;
  EXPECT_THAT(ask("\x02h2\x08http/1.1", hello, &selected), StartsWith(kSettings));
  EXPECT_EQ(selected, "h2");
  EXPECT_THAT(ask("", hello), StartsWith(kSettings));
}

TEST_F(Tls, AChannelWithTheRightAuthorityCallsThroughTls) {
  const std::string url = "https://localhost:" + std::to_string(port_);
  const std::string big(5'000'000, 'q');
  const auto answer = echo(url, certificate_.files.certificate, big);
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_TRUE(*answer == big);
}

TEST_F(Tls, ACertificateThatIsNotTrustedIsRefusedWithTheReason) {
  const Certificate other;
  const std::string port = std::to_string(port_);
  const auto stranger = echo("https://localhost:" + port, other.files.certificate, "x");
  ASSERT_FALSE(stranger.ok());
  EXPECT_EQ(stranger.error().code, Code::unavailable);
  EXPECT_THAT(stranger.error().message, HasSubstr("certificate"));
  const auto wrongName = echo("https://127.0.0.1:" + port, certificate_.files.certificate, "x");
  ASSERT_FALSE(wrongName.ok());
  EXPECT_THAT(wrongName.error().message, HasSubstr("address mismatch"));
}

TEST_F(Tls, ThePeerChoosesTheCertificateByTheNameThatItAsksFor) {
  EXPECT_EQ(shownTo("a.hooks.example"), "*.hooks.example");
  EXPECT_EQ(shownTo("localhost"), "localhost");
  EXPECT_EQ(shownTo("stranger.example"), "localhost");
  EXPECT_EQ(shownTo(""), "localhost");
}

TEST_F(Tls, ChangedFilesAreReadWhileTheDoorIsOpen) {
  ASSERT_EQ(shownTo("b.example"), "localhost");
  other_.make("b.example");
  const auto limit = std::chrono::steady_clock::now() + 20s;
  while (read_.empty() && std::chrono::steady_clock::now() < limit) io_.run_one_for(1s);
  EXPECT_THAT(read_, ::testing::ElementsAre(""));
  EXPECT_EQ(shownTo("b.example"), "b.example");
}

TEST(CertificatesTest, WhatCannotBeUsedLeavesTheOldOnesInForce) {
  Certificate certificate;
  auto certificates = Certificates::open({certificate.files});
  ASSERT_TRUE(certificates.ok()) << certificates.error().message;
  const auto before = certificates->context();
  EXPECT_FALSE(certificates->refresh());
  ASSERT_TRUE(writeFileAtomic(certificate.files.key, "half of a", 0600, Durable::no).ok());
  EXPECT_FALSE(certificates->refresh());  // it may still be written
  const auto read = certificates->refresh();
  ASSERT_TRUE(read && !read->ok());
  EXPECT_THAT(read->error().message, HasSubstr(certificate.files.key));
  EXPECT_EQ(certificates->context(), before);
  EXPECT_FALSE(certificates->refresh());  // said once
  certificate.make("localhost");
  EXPECT_FALSE(certificates->refresh());
  const auto mended = certificates->refresh();
  EXPECT_TRUE(mended && mended->ok());
  EXPECT_NE(certificates->context(), before);
}

TEST_F(Tls, PlaintextIsServedOnTheSamePort) {
  const auto answer = echo("http://127.0.0.1:" + std::to_string(port_), "", "plain");
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(*answer, "plain");
}

TEST(TlsFilesTest, MissingFilesAreNamed) {
  asio::io_context io;
  DoorOptions options;
  options.tls = {{"/nonexistent/cert.pem", "/nonexistent/key.pem"}};
  Door door(io, options, [](std::shared_ptr<Exchange>) -> Task<void> { co_return; });
  const auto bound = door.listen("127.0.0.1:0");
  ASSERT_FALSE(bound.ok());
  EXPECT_THAT(bound.error().message, HasSubstr("/nonexistent/cert.pem"));
}

}  // namespace
}  // namespace gridiron::net
