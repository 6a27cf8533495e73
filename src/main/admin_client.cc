#include "main/admin_client.h"

#include <curl/curl.h>
#include <fcntl.h>

#include <memory>

#include "base/fd.h"
#include "main/data_folder.h"

namespace gridiron {
namespace {

// A unix socket's name holds 107 bytes; a longer path is reached through the descriptor of its folder.
constexpr std::size_t kLongestSocketName = 107;

size_t append(char* data, size_t size, size_t count, void* body) {
  static_cast<std::string*>(body)->append(data, size * count);
  return size * count;
}

Result<nlohmann::json> readAnswer(long status, const std::string& body) {
  auto json = nlohmann::json::parse(body, nullptr, false);
  if (status < 200 || status > 299) return adminError(static_cast<int>(status), body);
  if (json.is_discarded()) return Error{Code::internal, "the grid's answer is not JSON: " + body.substr(0, 200)};
  return json;
}

}  // namespace

Error adminError(int status, const std::string& body) {
  auto json = nlohmann::json::parse(body, nullptr, false);
  if (json.is_object() && json.contains("error") && json["error"].is_string())
    return Error{static_cast<Code>(json.value("code", static_cast<int>(Code::unknown))), json["error"]};
  return makeError(Code::unknown, "the grid answered with HTTP status {}", status);
}

Result<std::optional<nlohmann::json>> askRunningGrid(const std::string& dataFolder, const AdminRequest& request) {
  std::string socket = adminSocketPath(dataFolder);
  Fd folder;
  if (socket.size() > kLongestSocketName) {
    folder = Fd(::open(dataFolder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!folder.valid()) return std::optional<nlohmann::json>{};
    socket = "/proc/self/fd/" + std::to_string(folder.get()) + "/admin.sock";
  }
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), curl_easy_cleanup);
  std::string url = "http://grid" + request.target, answer, body = request.body.is_null() ? "" : request.body.dump();
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(
      curl_slist_append(nullptr, "content-type: application/json"), curl_slist_free_all);
  curl_easy_setopt(curl.get(), CURLOPT_UNIX_SOCKET_PATH, socket.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROXY, "");
  curl_easy_setopt(curl.get(), CURLOPT_CUSTOMREQUEST, request.method.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, static_cast<long>(request.timeoutSeconds));
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &answer);
  if (!body.empty()) {
    curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, body.c_str());
  }
  CURLcode outcome = curl_easy_perform(curl.get());
  if (outcome == CURLE_COULDNT_CONNECT) return std::optional<nlohmann::json>{};
  if (outcome != CURLE_OK)
    return makeError(Code::unavailable, "ask the grid at {}: {}", adminSocketPath(dataFolder),
                     curl_easy_strerror(outcome));
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  ASSIGN_OR_RETURN(auto json, readAnswer(status, answer));
  return std::optional<nlohmann::json>(std::move(json));
}

}  // namespace gridiron
