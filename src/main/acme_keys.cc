#include "main/acme_keys.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <array>

#include "base/check.h"
#include "base/digest.h"

namespace gridiron {
namespace {

template <auto free>
struct Free {
  template <class T>
  void operator()(T* object) const {
    free(object);
  }
};
using Bio = std::unique_ptr<BIO, Free<BIO_free>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;

template <class Write>
std::string written(Write write) {
  const Bio bio(BIO_new(BIO_s_mem()));
  GRID_CHECK(write(bio.get()) == 1);
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &bytes);
  return {bytes, static_cast<std::size_t>(size)};
}

Bio reading(const std::string& text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

Certificate readCertificate(const std::string& pem) {
  return Certificate(PEM_read_bio_X509(reading(pem).get(), nullptr, nullptr, nullptr));
}

std::string padded(const BIGNUM* number) {
  std::array<unsigned char, 32> bytes{};
  GRID_CHECK(BN_bn2binpad(number, bytes.data(), bytes.size()) == static_cast<int>(bytes.size()));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

X509_EXTENSION* nameExtension(const std::string& name) {
  const std::string value = "DNS:" + name;
  X509_EXTENSION* made = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, value.c_str());
  GRID_CHECK(made != nullptr);
  return made;
}

Time readTime(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return Time{std::chrono::seconds(::timegm(&parts))};
}

}  // namespace

EcKey::EcKey(evp_pkey_st* key) : key_(key, EVP_PKEY_free) {}

Result<EcKey> EcKey::generate() {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  if (key == nullptr) return Error{Code::internal, "a P-256 key cannot be made"};
  return EcKey(key);
}

Result<EcKey> EcKey::fromPem(const std::string& pem) {
  EVP_PKEY* raw = PEM_read_bio_PrivateKey(reading(pem).get(), nullptr, nullptr, nullptr);
  if (raw == nullptr) return Error{Code::dataLoss, "there is no key in it"};
  EcKey key(raw);
  if (EVP_PKEY_get_base_id(raw) != EVP_PKEY_EC || EVP_PKEY_get_bits(raw) != 256)
    return Error{Code::dataLoss, "the key in it is none of P-256"};
  return key;
}

std::string EcKey::pem() const {
  return written(
      [&](BIO* out) { return PEM_write_bio_PrivateKey(out, key_.get(), nullptr, nullptr, 0, nullptr, nullptr); });
}

nlohmann::json EcKey::jwk() const {
  BIGNUM *x = nullptr, *y = nullptr;
  GRID_CHECK(EVP_PKEY_get_bn_param(key_.get(), "qx", &x) == 1 && EVP_PKEY_get_bn_param(key_.get(), "qy", &y) == 1);
  nlohmann::json jwk = {
      {"kty", "EC"}, {"crv", "P-256"}, {"x", base64UrlEncode(padded(x))}, {"y", base64UrlEncode(padded(y))}};
  BN_free(x);
  BN_free(y);
  return jwk;
}

std::string EcKey::thumbprint() const {
  const std::string canonical = jwk().dump();  // names in order, no spaces: what RFC 7638 hashes
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  GRID_CHECK(EVP_Digest(canonical.data(), canonical.size(), digest, &size, EVP_sha256(), nullptr) == 1);
  return base64UrlEncode({reinterpret_cast<const char*>(digest), size});
}

std::string EcKey::sign(const std::string& text) const {
  const std::unique_ptr<EVP_MD_CTX, Free<EVP_MD_CTX_free>> context(EVP_MD_CTX_new());
  GRID_CHECK(EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key_.get()) == 1);
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  std::array<unsigned char, 128> der{};
  std::size_t size = der.size();
  GRID_CHECK(EVP_DigestSign(context.get(), der.data(), &size, bytes, text.size()) == 1);
  const unsigned char* at = der.data();
  const std::unique_ptr<ECDSA_SIG, Free<ECDSA_SIG_free>> signature(
      d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(size)));
  GRID_CHECK(signature != nullptr);
  return base64UrlEncode(padded(ECDSA_SIG_get0_r(signature.get())) + padded(ECDSA_SIG_get0_s(signature.get())));
}

std::string EcKey::request(const std::string& name) const {
  const std::unique_ptr<X509_REQ, Free<X509_REQ_free>> request(X509_REQ_new());
  X509_REQ_set_pubkey(request.get(), key_.get());
  STACK_OF(X509_EXTENSION)* extensions = sk_X509_EXTENSION_new_null();
  sk_X509_EXTENSION_push(extensions, nameExtension(name));
  X509_REQ_add_extensions(request.get(), extensions);
  sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
  GRID_CHECK(X509_REQ_sign(request.get(), key_.get(), EVP_sha256()) > 0);
  return base64UrlEncode(written([&](BIO* out) { return i2d_X509_REQ_bio(out, request.get()); }));
}

std::string EcKey::selfSigned(const std::string& name) const {
  const Certificate certificate(X509_new());
  X509_set_version(certificate.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 24 * 3600);
  X509_set_pubkey(certificate.get(), key_.get());
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  const std::string text = "Gridiron waits for a certificate";
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(text.c_str()), -1, -1,
                             0);
  X509_set_issuer_name(certificate.get(), subject);
  X509_EXTENSION* names = nameExtension(name);
  X509_add_ext(certificate.get(), names, -1);
  X509_EXTENSION_free(names);
  GRID_CHECK(X509_sign(certificate.get(), key_.get(), EVP_sha256()) > 0);
  return written([&](BIO* out) { return PEM_write_bio_X509(out, certificate.get()); });
}

Result<void> EcKey::fits(const std::string& chainPem, const std::string& name) const {
  const Certificate certificate = readCertificate(chainPem);
  if (!certificate) return Error{Code::dataLoss, "there is no certificate in it"};
  if (X509_check_private_key(certificate.get(), key_.get()) != 1)
    return Error{Code::dataLoss, "the certificate is another key's"};
  if (X509_check_host(certificate.get(), name.c_str(), name.size(), 0, nullptr) != 1)
    return makeError(Code::dataLoss, "the certificate is not for {}", name);
  return {};
}

Result<Validity> validityOf(const std::string& pem) {
  const Certificate certificate = readCertificate(pem);
  if (!certificate) return Error{Code::dataLoss, "there is no certificate in it"};
  Validity out;
  out.from = readTime(X509_get0_notBefore(certificate.get()));
  out.until = readTime(X509_get0_notAfter(certificate.get()));
  out.selfSigned =
      X509_NAME_cmp(X509_get_subject_name(certificate.get()), X509_get_issuer_name(certificate.get())) == 0;
  return out;
}

}  // namespace gridiron
