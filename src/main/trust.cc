#include "main/trust.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/fd.h"
#include "base/subprocess.h"

namespace gridiron {
namespace {

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

std::string beginMark(const Authority& authority) { return "# gridiron trust " + authority.sha256 + "\n"; }
constexpr std::string_view kEndMark = "# gridiron trust: end\n";

std::string textOf(BIO* bio) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio, &bytes);
  return {bytes, static_cast<std::size_t>(size)};
}

template <class Write>
std::string written(Write write) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
  write(bio.get());
  return textOf(bio.get());
}

std::string fingerprint(X509* certificate) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  X509_digest(certificate, EVP_sha256(), digest, &size);
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

Result<void> replace(const std::string& bundle, const std::string& bytes) {
  // A package manager may have linked the file to its cache: the link's place is ours, what it points to is not.
  struct stat info {};
  if (::stat(bundle.c_str(), &info) != 0) return errnoError("look at " + bundle);
  return writeFileAtomic(bundle, bytes, static_cast<int>(info.st_mode & 0777), Durable::yes);
}

Result<std::string> bundleOf(const std::string& python) {
  Command command;
  command.argv = {python, "-c", "import certifi; print(certifi.where())"};
  command.timeout = std::chrono::seconds(60);
  ASSIGN_OR_RETURN(Finished done, runCommand(command));
  while (!done.output.empty() && done.output.back() == '\n') done.output.pop_back();
  std::error_code ignored;
  if (done.exitCode != 0 || !std::filesystem::exists(done.output, ignored))
    return makeError(Code::failedPrecondition,
                     "{} has no certifi, whose bundle the modal client reads (is it the Python that has modal?): {}",
                     python, done.output.substr(done.output.rfind('\n') + 1));
  return done.output;
}

void printHints(const TrustRequest& request) {
  const std::string path = std::filesystem::absolute(request.file).string();
  std::printf(
      "For a Python with the modal client:   gridiron trust %s --python PATH/OF/python\n"
      "For Go:                               SSL_CERT_FILE=%s\n"
      "For JavaScript:                       GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=%s\n"
      "For curl:                             curl --cacert %s, or CURL_CA_BUNDLE=%s\n"
      "For everything of a Debian machine:   cp %s /usr/local/share/ca-certificates/ && update-ca-certificates\n"
      "                                      (a name that ends in .crt; the modal client for Python does not look "
      "there)\n",
      path.c_str(), path.c_str(), path.c_str(), path.c_str(), path.c_str(), path.c_str());
}

}  // namespace

Result<Authority> readAuthority(const std::string& file) {
  ASSIGN_OR_RETURN(const std::string text, readFile(file));
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())),
                                                      BIO_free);
  const Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), X509_free);
  if (!certificate) return makeError(Code::invalidArgument, "{} has no certificate in PEM", file);
  const Certificate second(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), X509_free);
  if (second) return makeError(Code::invalidArgument, "{} has several certificates: give the authority's alone", file);
  if (X509_check_ca(certificate.get()) == 0)
    return makeError(Code::invalidArgument,
                     "{} is the certificate of a server, not of an authority: give that of who signed it", file);
  Authority made;
  made.pem = written([&](BIO* out) { PEM_write_bio_X509(out, certificate.get()); });
  made.subject = written([&](BIO* out) {
    X509_NAME_print_ex(out, X509_get_subject_name(certificate.get()), 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
  });
  made.expires = written([&](BIO* out) { ASN1_TIME_print(out, X509_get0_notAfter(certificate.get())); });
  made.sha256 = fingerprint(certificate.get());
  return made;
}

Result<bool> trustIn(const std::string& bundle, const Authority& authority) {
  ASSIGN_OR_RETURN(std::string bytes, readFile(bundle));
  if (bytes.find(beginMark(authority)) != std::string::npos) return false;
  if (!bytes.empty() && bytes.back() != '\n') bytes += '\n';
  bytes += beginMark(authority) + authority.pem + std::string(kEndMark);
  RETURN_IF_ERROR(replace(bundle, bytes));
  return true;
}

Result<bool> distrustIn(const std::string& bundle, const Authority& authority) {
  ASSIGN_OR_RETURN(std::string bytes, readFile(bundle));
  const std::size_t from = bytes.find(beginMark(authority));
  if (from == std::string::npos) return false;
  const std::size_t to = bytes.find(kEndMark, from);
  if (to == std::string::npos) return makeError(Code::dataLoss, "{}: the end of our part of it is missing", bundle);
  bytes.erase(from, to + kEndMark.size() - from);
  RETURN_IF_ERROR(replace(bundle, bytes));
  return true;
}

Result<void> trustAuthority(Format format, const TrustRequest& request) {
  ASSIGN_OR_RETURN(const Authority authority, readAuthority(request.file));
  std::string bundle;
  bool changed = false;
  if (!request.python.empty()) {
    ASSIGN_OR_RETURN(bundle, bundleOf(request.python));
    auto done = request.undo ? distrustIn(bundle, authority) : trustIn(bundle, authority);
    if (!done.ok()) return done.error();
    changed = *done;
  } else if (request.undo) {
    return Error{Code::invalidArgument, "--undo needs --python: nothing else is changed by this command"};
  }
  if (format == Format::json) {
    const nlohmann::json answer = {{"subject", authority.subject},
                                   {"sha256", authority.sha256},
                                   {"expires", authority.expires},
                                   {"bundle", bundle.empty() ? nlohmann::json(nullptr) : nlohmann::json(bundle)},
                                   {"changed", changed}};
    std::printf("%s\n", answer.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    return {};
  }
  std::printf("%s (sha256 %s, until %s)\n", authority.subject.c_str(), authority.sha256.c_str(),
              authority.expires.c_str());
  if (bundle.empty()) {
    printHints(request);
  } else if (request.undo) {
    std::printf(changed ? "is out of %s again.\n" : "was not in %s.\n", bundle.c_str());
  } else if (!changed) {
    std::printf("is in %s already.\n", bundle.c_str());
  } else {
    std::printf(
        "was added to %s, which modal and everything else of this Python trusts.\n"
        "Undo: the same command with --undo. An update of the package certifi undoes it, too.\n",
        bundle.c_str());
  }
  return {};
}

}  // namespace gridiron
