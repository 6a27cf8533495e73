#include "net/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

namespace gridiron::net {

namespace {

std::string opensslReason() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  if (code == 0) return "no reason given";
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "error " + std::to_string(code);
}

int selectAlpn(SSL*, const unsigned char** out, unsigned char* outLength, const unsigned char* offered,
               unsigned int offeredLength, void*) {
  static constexpr unsigned char kOurs[] = "\x02h2\x08http/1.1";
  unsigned char* selected = nullptr;
  const int rc = SSL_select_next_proto(&selected, outLength, kOurs, sizeof(kOurs) - 1, offered, offeredLength);
  if (rc != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_NOACK;
  *out = selected;
  return SSL_TLSEXT_ERR_OK;
}

class TlsProtocol final : public Protocol {
 public:
  TlsProtocol(const std::shared_ptr<TlsContext>& context, Carrier& carrier, std::optional<Instant> deadline,
              std::shared_ptr<std::string> failure, MakeInner makeInner)
      : context_(context),
        carrier_(carrier),
        deadline_(deadline),
        failure_(std::move(failure)),
        makeInner_(std::move(makeInner)) {
    ssl_ = SSL_new(context->raw());
    GRID_CHECK(ssl_ != nullptr);
    in_ = BIO_new(BIO_s_mem());
    out_ = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl_, in_, out_);
  }
  ~TlsProtocol() override { SSL_free(ssl_); }

  void accept() { SSL_set_accept_state(ssl_); }

  void connect(const std::string& host) {
    SSL_set_connect_state(ssl_);
    unsigned char address[16];
    const bool numeric =
        inet_pton(AF_INET, host.c_str(), address) == 1 || inet_pton(AF_INET6, host.c_str(), address) == 1;
    if (numeric) {
      X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_), host.c_str());
    } else {
      SSL_set_tlsext_host_name(ssl_, host.c_str());
      SSL_set1_host(ssl_, host.c_str());
    }
    SSL_set_verify(ssl_, SSL_VERIFY_PEER, nullptr);
    handshake();
  }

  void receive(std::string_view bytes) override {
    if (failed_) return;
    BIO_write(in_, bytes.data(), static_cast<int>(bytes.size()));
    if (!inner_) handshake();
    char plain[16 * 1024];
    while (inner_ && !failed_) {
      ERR_clear_error();
      const int n = SSL_read(ssl_, plain, sizeof(plain));
      if (n > 0) {
        if (!inner_->finished()) inner_->receive(std::string_view(plain, static_cast<std::size_t>(n)));
        continue;
      }
      const int why = SSL_get_error(ssl_, n);
      if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) fail(why == SSL_ERROR_ZERO_RETURN);
      break;
    }
  }

  void fill(std::string& out) override {
    if (inner_ && !broken_) {
      plain_.clear();
      inner_->fill(plain_);
      ERR_clear_error();
      if (!plain_.empty() && SSL_write(ssl_, plain_.data(), static_cast<int>(plain_.size())) <= 0) fail(false);
      if (plain_.empty() && finished() && !saidBye_) {
        saidBye_ = true;
        SSL_shutdown(ssl_);
      }
    }
    const std::size_t pending = BIO_ctrl_pending(out_);
    if (pending == 0) return;
    const std::size_t before = out.size();
    out.resize(before + pending);
    BIO_read(out_, out.data() + before, static_cast<int>(pending));
  }

  bool wantsRead() const override { return !inner_ || inner_->wantsRead(); }
  bool finished() const override { return failed_ || (inner_ && inner_->finished()); }
  void lost() override {
    makeInner_ = nullptr;
    if (inner_) inner_->lost();
    if (!inner_ && failure_ && failure_->empty()) *failure_ = "the connection ended in the TLS handshake";
  }
  void tick(Instant now) override {
    if (inner_) return inner_->tick(now);
    if (deadline_ && now > *deadline_) {
      failed_ = true;
      carrier_.kick();
    }
  }
  void drain(bool force) override {
    if (inner_) return inner_->drain(force);
    failed_ = true;
  }

 private:
  void handshake() {
    ERR_clear_error();
    const int rc = SSL_do_handshake(ssl_);
    if (rc == 1) {
      const unsigned char* name = nullptr;
      unsigned int length = 0;
      SSL_get0_alpn_selected(ssl_, &name, &length);
      const MakeInner make = std::exchange(makeInner_, nullptr);
      inner_ = make(std::string(reinterpret_cast<const char*>(name), length), carrier_);
      if (!inner_) fail(false);
      return;
    }
    const int why = SSL_get_error(ssl_, rc);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) fail(false);
  }

  void fail(bool clean) {
    failed_ = true;
    broken_ = !clean;
    if (failure_ && failure_->empty() && !clean) {
      const long verdict = SSL_get_verify_result(ssl_);
      *failure_ = verdict != X509_V_OK ? X509_verify_cert_error_string(verdict) : opensslReason();
    }
    ERR_clear_error();
  }

  const std::shared_ptr<TlsContext> context_;
  Carrier& carrier_;
  const std::optional<Instant> deadline_;
  const std::shared_ptr<std::string> failure_;
  MakeInner makeInner_;  // gone once used: it may hold what holds us
  SSL* ssl_ = nullptr;
  BIO* in_ = nullptr;   // owned by ssl_
  BIO* out_ = nullptr;  // owned by ssl_
  std::unique_ptr<Protocol> inner_;
  std::string plain_;
  bool failed_ = false;
  bool broken_ = false;  // TLS can carry nothing more
  bool saidBye_ = false;
};

}  // namespace

TlsContext::~TlsContext() {
  for (SSL_CTX* raw : raw_) SSL_CTX_free(raw);
}

Result<SSL_CTX*> TlsContext::add(const SSL_METHOD* method) {
  SSL_CTX* raw = SSL_CTX_new(method);
  if (raw == nullptr) return makeError(Code::internal, "set up TLS: {}", opensslReason());
  raw_.push_back(raw);
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
  return raw;
}

Result<std::shared_ptr<TlsContext>> TlsContext::server(const std::vector<TlsFiles>& certificates) {
  GRID_CHECK(!certificates.empty());
  auto context = std::make_shared<TlsContext>();
  for (const TlsFiles& files : certificates) {
    ASSIGN_OR_RETURN(SSL_CTX * raw, context->add(TLS_server_method()));
    if (SSL_CTX_use_certificate_chain_file(raw, files.certificate.c_str()) != 1)
      return makeError(Code::invalidArgument, "read the TLS certificate {}: {}", files.certificate, opensslReason());
    if (SSL_CTX_use_PrivateKey_file(raw, files.key.c_str(), SSL_FILETYPE_PEM) != 1)
      return makeError(Code::invalidArgument, "read the TLS key {}: {}", files.key, opensslReason());
    SSL_CTX_set_alpn_select_cb(raw, selectAlpn, nullptr);
  }
  SSL_CTX_set_tlsext_servername_callback(context->raw(), chooseByName);
  SSL_CTX_set_tlsext_servername_arg(context->raw(), context.get());
  return context;
}

int TlsContext::chooseByName(SSL* ssl, int*, void* self) {
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (name == nullptr) return SSL_TLSEXT_ERR_OK;
  for (SSL_CTX* raw : static_cast<const TlsContext*>(self)->raw_) {
    if (X509_check_host(SSL_CTX_get0_certificate(raw), name, 0, 0, nullptr) != 1) continue;
    SSL_set_SSL_CTX(ssl, raw);
    break;
  }
  return SSL_TLSEXT_ERR_OK;
}

Result<std::shared_ptr<TlsContext>> TlsContext::client(const std::string& caFile) {
  auto context = std::make_shared<TlsContext>();
  ASSIGN_OR_RETURN(SSL_CTX * raw, context->add(TLS_client_method()));
  const int rc = caFile.empty() ? SSL_CTX_set_default_verify_paths(raw)
                                : SSL_CTX_load_verify_locations(raw, caFile.c_str(), nullptr);
  if (rc != 1) {
    return makeError(Code::invalidArgument, "read the certificate authorities {}: {}",
                     caFile.empty() ? "of the system" : caFile, opensslReason());
  }
  static constexpr unsigned char kOffer[] = "\x02h2";
  SSL_CTX_set_alpn_protos(raw, kOffer, sizeof(kOffer) - 1);
  return context;
}

Result<Certificates> Certificates::open(std::vector<TlsFiles> files) {
  Certificates out;
  out.files_ = std::move(files);
  out.read_ = out.seen_ = out.fingerprint();
  ASSIGN_OR_RETURN(out.context_, TlsContext::server(out.files_));
  return out;
}

// Of what tells one version of a file from another: a certificate is often renewed by changing a symbolic link.
std::string Certificates::fingerprint() const {
  std::string out;
  for (const TlsFiles& files : files_) {
    for (const std::string& path : {files.certificate, files.key}) {
      struct stat info {};
      const bool there = ::stat(path.c_str(), &info) == 0;
      out += there ? fmt::format("{}:{}:{}:{}.{};", info.st_dev, info.st_ino, info.st_size, info.st_mtim.tv_sec,
                                 info.st_mtim.tv_nsec)
                   : "-;";
    }
  }
  return out;
}

std::optional<Result<void>> Certificates::refresh() {
  std::string now = fingerprint();
  const bool settled = now == std::exchange(seen_, now);
  if (!settled || now == read_) return std::nullopt;
  read_ = std::move(now);
  Result<std::shared_ptr<TlsContext>> fresh = TlsContext::server(files_);
  if (!fresh.ok()) return Result<void>(fresh.error());
  context_ = *fresh;
  return Result<void>();
}

std::unique_ptr<Protocol> makeTlsServer(const std::shared_ptr<TlsContext>& context, Carrier& carrier, Instant deadline,
                                        MakeInner makeInner) {
  auto protocol = std::make_unique<TlsProtocol>(context, carrier, deadline, nullptr, std::move(makeInner));
  protocol->accept();
  return protocol;
}

std::unique_ptr<Protocol> makeTlsClient(const std::shared_ptr<TlsContext>& context, Carrier& carrier,
                                        const std::string& host, std::shared_ptr<std::string> failure,
                                        MakeInner makeInner) {
  auto protocol =
      std::make_unique<TlsProtocol>(context, carrier, std::nullopt, std::move(failure), std::move(makeInner));
  protocol->connect(host);
  return protocol;
}

}  // namespace gridiron::net
