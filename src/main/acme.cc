#include "main/acme.h"

#include <curl/curl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "base/fd.h"

namespace gridiron {
namespace {

constexpr std::string_view kChallengePath = "/.well-known/acme-challenge/";
constexpr std::size_t kMostAnswer = 1024 * 1024;

std::size_t takeBody(char* data, std::size_t size, std::size_t count, void* to) {
  auto& body = *static_cast<std::string*>(to);
  if (body.size() + size * count > kMostAnswer) return 0;  // curl fails then
  body.append(data, size * count);
  return size * count;
}

std::size_t takeHeader(char* data, std::size_t size, std::size_t count, void* to) {
  auto& headers = *static_cast<std::map<std::string, std::string>*>(to);
  std::string_view line(data, size * count);
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  const std::size_t colon = line.find(':');
  if (colon != std::string_view::npos && headers.size() < 100) {
    std::string name(line.substr(0, colon));
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    const std::size_t from = line.find_first_not_of(' ', colon + 1);
    headers[name] = from == std::string_view::npos ? "" : line.substr(from);
  }
  return size * count;
}

}  // namespace

Nanos acmeBackOff(int attempt) {
  const int doublings = std::clamp(attempt - 1, 0, 11);
  return std::min<Nanos>(std::chrono::minutes(1) * (1 << doublings), std::chrono::hours(24));
}

Time acmeRenewAt(const Validity& validity) { return validity.until - (validity.until - validity.from) / 3; }

Result<std::unique_ptr<Acme>> Acme::open(AcmeOptions options, const Clock& clock) {
  std::unique_ptr<Acme> acme(new Acme(std::move(options), clock));
  RETURN_IF_ERROR(makeDirectories(acme->options_.folder, 0700));
  for (const std::string& name : acme->options_.names) {
    acme->names_.push_back({name, Time{}, 0});
    RETURN_IF_ERROR(acme->prepare(acme->names_.back()));
    acme->recall(acme->names_.back());
  }
  return acme;
}

Acme::~Acme() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  ended_.notify_all();
  if (thread_.joinable()) thread_.join();
}

// A grid that is started again and again must not ask an authority each time for what it has just refused.
void Acme::recall(Name& name) const {
  const Result<std::string> there = readFile(failureOf(name.name));
  if (!there.ok()) return;
  std::istringstream words(*there);
  std::int64_t due = 0;
  int failures = 0;
  if (!(words >> failures >> due) || failures < 1) return;
  name.failures = failures;
  name.due = std::clamp(fromMillis(due), clock_.now(), clock_.now() + std::chrono::hours(24));
}

// A file that is there and fits is kept, whoever is its authority; anything else makes room for a makeshift.
Result<void> Acme::prepare(Name& name) {
  const Result<std::string> there = readFile(fileOf(name.name));
  if (there.ok()) {
    const Result<EcKey> key = EcKey::fromPem(*there);
    const Result<Validity> validity = validityOf(*there);
    if (key.ok() && validity.ok() && key->fits(*there, name.name).ok()) {
      if (!validity->selfSigned) name.due = acmeRenewAt(*validity);
      if (!validity->selfSigned || validity->until > clock_.now()) return {};
    }
  }
  ASSIGN_OR_RETURN(const EcKey key, EcKey::generate());
  return writeFileAtomic(fileOf(name.name), key.pem() + key.selfSigned(name.name), 0600, Durable::yes);
}

std::vector<net::TlsFiles> Acme::files() const {
  std::vector<net::TlsFiles> files;
  for (const std::string& name : options_.names) files.push_back({fileOf(name), fileOf(name)});
  return files;
}

void Acme::start() {
  thread_ = std::thread([this] { run(); });
}

std::optional<std::string> Acme::answerTo(const std::string& path) const {
  if (!path.starts_with(kChallengePath)) return std::nullopt;
  const std::lock_guard lock(mutex_);
  const auto found = challenges_.find(path.substr(kChallengePath.size()));
  return found == challenges_.end() ? std::nullopt : std::optional(found->second);
}

bool Acme::sleep(Nanos wait) {
  std::unique_lock lock(mutex_);
  return !ended_.wait_for(lock, wait, [this] { return over_; });
}

Result<EcKey> Acme::accountKey() const {
  const std::string file = options_.folder + "/account.key";
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) {
    ASSIGN_OR_RETURN(const EcKey fresh, EcKey::generate());
    RETURN_IF_ERROR(writeFileAtomic(file, fresh.pem(), 0600, Durable::yes));
    return fresh;
  }
  ASSIGN_OR_RETURN(const std::string pem, readFile(file));
  Result<EcKey> key = EcKey::fromPem(pem);
  return key.ok() ? key : key.error().within(file);
}

Result<AcmeAnswer> Acme::ask(const std::string& method, const std::string& url, const std::string& body) const {
  if (!url.starts_with("https://")) return makeError(Code::invalidArgument, "{} is no https:// address", url);
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), curl_easy_cleanup);
  if (!curl) return Error{Code::internal, "curl cannot begin"};
  AcmeAnswer answer;
  curl_slist* headers = nullptr;
  char problem[CURL_ERROR_SIZE] = {};
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, problem);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, 30L);
  curl_easy_setopt(curl.get(), CURLOPT_USERAGENT, "gridiron");
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, takeBody);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &answer.body);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERFUNCTION, takeHeader);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERDATA, &answer.headers);
  if (!options_.authority.empty()) curl_easy_setopt(curl.get(), CURLOPT_CAINFO, options_.authority.c_str());
  if (method == "HEAD") curl_easy_setopt(curl.get(), CURLOPT_NOBODY, 1L);
  if (method == "POST") {
    headers = curl_slist_append(headers, "content-type: application/jose+json");
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
    curl_easy_setopt(curl.get(), CURLOPT_COPYPOSTFIELDS, body.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers);
  }
  const CURLcode done = curl_easy_perform(curl.get());
  curl_slist_free_all(headers);
  if (done != CURLE_OK)
    return makeError(Code::unavailable, "{} {}: {}", method, url,
                     problem[0] != '\0' ? problem : curl_easy_strerror(done));
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  answer.status = static_cast<int>(status);
  return answer;
}

Result<void> Acme::obtain(AcmeClient& client, Name& name) {
  ASSIGN_OR_RETURN(const EcKey key, EcKey::generate());
  ASSIGN_OR_RETURN(const std::string chain, client.obtain(name.name, key));
  ASSIGN_OR_RETURN(const Validity validity, validityOf(chain));
  // One file, so that the door never sees the key of one and the certificate of another.
  RETURN_IF_ERROR(writeFileAtomic(fileOf(name.name), key.pem() + chain, 0600, Durable::yes));
  name.due = acmeRenewAt(validity);
  return {};
}

void Acme::turn(Name& name) {
  std::error_code ignored;
  std::optional<Nanos> later;
  Result<void> done = [&]() -> Result<void> {
    ASSIGN_OR_RETURN(const EcKey account, accountKey());
    const AcmeParts parts{
        .ask = [this](const auto& method, const auto& url, const auto& body) { return ask(method, url, body); },
        .publish =
            [this](const std::string& token, const std::string& text) {
              const std::lock_guard lock(mutex_);
              challenges_.erase(token);
              if (!text.empty()) challenges_[token] = text;
            },
        .sleep = [this](Nanos wait) { return sleep(wait); }};
    AcmeClient client(parts, options_.directory, options_.email, account);
    Result<void> obtained = obtain(client, name);
    later = client.retryAfter();
    return obtained;
  }();
  if (done.ok()) {
    name.failures = 0;
    std::filesystem::remove(failureOf(name.name), ignored);
    spdlog::info("a certificate for {} was issued; it is renewed from {} on", name.name, toMillis(name.due) / 1000);
    return;
  }
  if (done.error().code == Code::cancelled) return;
  const Nanos wait =
      std::max(acmeBackOff(++name.failures), std::min<Nanos>(later.value_or(Nanos{}), std::chrono::hours(24)));
  name.due = clock_.now() + wait;
  const std::string note = fmt::format("{} {}\n{}\n", name.failures, toMillis(name.due), done.error().message);
  (void)writeFileAtomic(failureOf(name.name), note, 0600, Durable::no);
  spdlog::error("no certificate for {}: {}; tried again in {} s", name.name, done.error().message,
                std::chrono::duration_cast<std::chrono::seconds>(wait).count());
}

void Acme::run() {
  while (!names_.empty()) {
    const auto next =
        std::min_element(names_.begin(), names_.end(), [](const Name& a, const Name& b) { return a.due < b.due; });
    // The clock may be set meanwhile: looked at every hour at least.
    const Nanos wait = std::min<Nanos>(next->due - clock_.now(), std::chrono::hours(1));
    if (!sleep(std::max(wait, Nanos{}))) return;
    if (next->due <= clock_.now()) turn(*next);
    if (!sleep(Nanos{})) return;
  }
}

}  // namespace gridiron
