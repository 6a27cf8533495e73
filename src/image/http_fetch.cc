#include <curl/curl.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "image/registry.h"

namespace gridiron::image {

namespace {

constexpr long kConnectMillis = 3000;
constexpr long kSlowestBytesPerSecond = 512;
constexpr long kSlowSeconds = 30;
constexpr long kMostRedirects = 10;
constexpr std::size_t kMostBody = 32 * 1024 * 1024;

struct Sink {
  std::FILE* file = nullptr;
  std::string body;
};

std::size_t takeBody(char* data, std::size_t size, std::size_t count, void* to) {
  auto& sink = *static_cast<Sink*>(to);
  const std::size_t length = size * count;
  if (sink.file != nullptr) return std::fwrite(data, 1, length, sink.file);
  if (sink.body.size() + length > kMostBody) return 0;
  sink.body.append(data, length);
  return length;
}

std::size_t takeHeader(char* data, std::size_t size, std::size_t count, void* to) {
  auto& headers = *static_cast<std::map<std::string, std::string>*>(to);
  std::string line(data, size * count);
  if (line.starts_with("HTTP/")) headers.clear();  // of a redirect
  const auto colon = line.find(':');
  if (colon == std::string::npos) return line.size();
  const std::size_t length = line.size();
  std::string name = line.substr(0, colon);
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::string value = line.substr(colon + 1);
  while (value.ends_with('\r') || value.ends_with('\n')) value.pop_back();
  while (value.starts_with(' ')) value.erase(0, 1);
  headers[name] = value;
  return length;
}

void setBundle(CURL* curl) {
  for (const char* name : {"CURL_CA_BUNDLE", "SSL_CERT_FILE"}) {
    const char* path = std::getenv(name);
    if (path != nullptr && *path != '\0') {
      curl_easy_setopt(curl, CURLOPT_CAINFO, path);
      return;
    }
  }
}

Result<HttpAnswer> get(const HttpGet& request) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), curl_easy_cleanup);
  curl_slist* list = nullptr;
  for (const std::string& header : request.headers) list = curl_slist_append(list, header.c_str());
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(list, curl_slist_free_all);
  std::unique_ptr<std::FILE, decltype(&std::fclose)> file(nullptr, std::fclose);
  if (!request.toFile.empty()) {
    file.reset(std::fopen(request.toFile.c_str(), "wbe"));
    if (file == nullptr) return errnoError("create " + request.toFile);
  }
  Sink sink{file.get(), {}};
  HttpAnswer answer;
  curl_easy_setopt(curl.get(), CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl.get(), CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_MAXREDIRS, kMostRedirects);
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT_MS, kConnectMillis);
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_LIMIT, kSlowestBytesPerSecond);
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_TIME, kSlowSeconds);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, takeBody);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &sink);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERFUNCTION, takeHeader);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERDATA, &answer.headers);
  setBundle(curl.get());
  const CURLcode code = curl_easy_perform(curl.get());
  if (code != CURLE_OK) {
    return makeError(Code::unavailable, "GET {}: {}", request.url, curl_easy_strerror(code));
  }
  if (file != nullptr && std::fflush(file.get()) != 0) return errnoError("write " + request.toFile);
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  answer.status = static_cast<int>(status);
  answer.body = std::move(sink.body);
  return answer;
}

}  // namespace

HttpFetch curlFetch() { return get; }

}  // namespace gridiron::image
