#include "image/registry.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/digest.h"
#include "base/fd.h"
#include "image/archive.h"
#include "image/records.h"
#include "image/stack.h"

namespace gridiron::image {

namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace {

constexpr auto kLeftInPeace = std::chrono::minutes(5);
constexpr const char* kDockerName = "docker.io";
constexpr const char* kDockerHost = "registry-1.docker.io";
constexpr const char* kAccept =
    "Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

std::string architecture() {
  utsname machine{};
  ::uname(&machine);
  const std::string name = machine.machine;
  return name == "x86_64" ? "amd64" : name == "aarch64" ? "arm64" : name;
}

bool isLoopback(const std::string& host) {
  return host.starts_with("localhost") || host.starts_with("127.") || host.starts_with("[::1]");
}

std::string baseUrl(const std::string& registry) {
  if (registry.find("://") != std::string::npos) return registry;
  const std::string host = registry == kDockerName ? kDockerHost : registry;
  return (isLoopback(host) ? "http://" : "https://") + host;
}

// Never throws; what is no object is an empty one.
Json parsed(const std::string& text) {
  Json json = Json::parse(text, nullptr, false);
  return json.is_object() ? std::move(json) : Json::object();
}

std::string textOf(const Json& json, const char* name) {
  return json.is_object() && json.contains(name) && json[name].is_string() ? json[name].get<std::string>() : "";
}

std::vector<std::string> wordsOf(const Json& json, const char* name) {
  std::vector<std::string> words;
  if (!json.is_object() || !json.contains(name) || !json[name].is_array()) return words;
  for (const Json& word : json[name]) {
    if (word.is_string()) words.push_back(word.get<std::string>());
  }
  return words;
}

bool isDigest(const std::string& text) {
  return text.starts_with("sha256:") && Sha256::fromHex(std::string_view(text).substr(7)).has_value();
}

// The manifest of this machine's platform in an index; "" when it is none, an Error when there is none for us.
Result<std::string> chosenDigest(const Json& index) {
  if (!index.contains("manifests") || !index["manifests"].is_array()) return std::string();
  std::string had;
  const Json* only = nullptr;
  for (const Json& item : index["manifests"]) {
    const Json platform = item.is_object() ? item.value("platform", Json::object()) : Json::object();
    const std::string os = textOf(platform, "os"), machine = textOf(platform, "architecture");
    if (os == "linux" && machine == architecture()) return textOf(item, "digest");
    if (os.empty()) only = &item;
    had += (had.empty() ? "" : ", ") + os + "/" + machine;
  }
  if (only != nullptr) return textOf(*only, "digest");  // an OCI layout of one image names no platform
  return makeError(Code::notFound, "the image is for {}, not for linux/{}", had, architecture());
}

void applyConfig(const Json& config, Base& base) {
  const Json given = config.value("config", Json::object());
  for (const std::string& entry : wordsOf(given, "Env")) {
    const auto equals = entry.find('=');
    if (equals != std::string::npos) base.environment[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  base.workdir = textOf(given, "WorkingDir");
  base.entrypoint = wordsOf(given, "Entrypoint");
  base.command = wordsOf(given, "Cmd");
  base.shell = wordsOf(given, "Shell");
}

Result<std::string> hashOfFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return errnoError("open " + path);
  Hasher hasher;
  std::string piece(256 * 1024, '\0');
  while (file) {
    file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    hasher.update(std::string_view(piece).substr(0, static_cast<std::size_t>(file.gcount())));
  }
  return "sha256:" + hexEncode(hasher.finish());
}

std::string percentEncoded(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.' || c == '~';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

// Talks to one repository of one registry; gets a token when it is asked for one.
class Repository {
 public:
  Repository(const HttpFetch& fetch, std::string url, std::string repository, const Recipe::Registry& credentials)
      : fetch_(fetch), url_(std::move(url)), repository_(std::move(repository)), credentials_(credentials) {}

  Result<HttpAnswer> get(const std::string& path, const std::string& toFile) {
    HttpGet request{url_ + "/v2/" + repository_ + path, {kAccept}, toFile};
    if (!authorization_.empty()) request.headers.push_back(authorization_);
    ASSIGN_OR_RETURN(HttpAnswer answer, fetch_(request));
    if (answer.status == 401 && authorization_.empty()) {
      RETURN_IF_ERROR(authorize(parseChallenge(answer.headers["www-authenticate"])));
      request.headers.push_back(authorization_);
      ASSIGN_OR_RETURN(answer, fetch_(request));
    }
    if (answer.status == 200) return answer;
    const Code code = answer.status == 404                           ? Code::notFound
                      : answer.status == 401 || answer.status == 403 ? Code::permissionDenied
                                                                     : Code::unavailable;
    return makeError(code, "GET {}: HTTP status {}", request.url, answer.status);
  }

 private:
  std::string basic() const {
    return "Authorization: Basic " + base64Encode(credentials_.username + ":" + credentials_.password);
  }

  Result<void> authorize(const Challenge& challenge) {
    if (challenge.scheme == "basic" && !credentials_.username.empty()) {
      authorization_ = basic();
      return {};
    }
    const auto realm = challenge.parameters.find("realm");
    if (challenge.scheme != "bearer" || realm == challenge.parameters.end()) {
      return makeError(Code::permissionDenied, "{} wants credentials (give the image a registry secret)", url_);
    }
    const auto service = challenge.parameters.find("service");
    const std::string scope = "repository:" + repository_ + ":pull";
    HttpGet request{realm->second + (realm->second.find('?') == std::string::npos ? "?" : "&") +
                        "scope=" + percentEncoded(scope) +
                        (service == challenge.parameters.end() ? "" : "&service=" + percentEncoded(service->second)),
                    {},
                    ""};
    if (!credentials_.username.empty()) request.headers.push_back(basic());
    ASSIGN_OR_RETURN(const HttpAnswer answer, fetch_(request));
    const Json json = parsed(answer.body);
    const std::string token = textOf(json, "token").empty() ? textOf(json, "access_token") : textOf(json, "token");
    if (answer.status != 200 || token.empty()) {
      return makeError(Code::permissionDenied, "{} gave no token for {} (status {})", realm->second, repository_,
                       answer.status);
    }
    authorization_ = "Authorization: Bearer " + token;
    return {};
  }

  const HttpFetch& fetch_;
  std::string url_, repository_;
  const Recipe::Registry& credentials_;
  std::string authorization_;
};

}  // namespace

// Where the blobs of one image come from: writes the one of a digest to a file.
struct Registry::Source {
  std::function<Result<void>(const std::string& digest, const std::string& file)> blob;
};

Result<ImageName> parseImageName(const std::string& tag) {
  ImageName name;
  std::string rest = tag;
  const auto slash = rest.find('/');
  const std::string first = rest.substr(0, slash);
  if (slash != std::string::npos && (first.find_first_of(".:") != std::string::npos || first == "localhost")) {
    name.registry = first == "index.docker.io" ? kDockerName : first;
    rest.erase(0, slash + 1);
  } else {
    name.registry = kDockerName;
  }
  if (const auto at = rest.find('@'); at != std::string::npos) {
    name.reference = rest.substr(at + 1);
    rest.erase(at);
    if (!isDigest(name.reference))
      return makeError(Code::invalidArgument, "'{}' has no sha256 digest behind its @", tag);
  }
  if (const auto colon = rest.find(':'); colon != std::string::npos) {
    if (name.reference.empty()) name.reference = rest.substr(colon + 1);
    rest.erase(colon);
  }
  if (name.reference.empty()) name.reference = "latest";
  const auto plain = [](char c) {
    return std::islower(static_cast<unsigned char>(c)) != 0 || std::isdigit(static_cast<unsigned char>(c)) != 0 ||
           c == '.' || c == '_' || c == '-' || c == '/';
  };
  if (rest.empty() || rest.find("..") != std::string::npos || !std::all_of(rest.begin(), rest.end(), plain) ||
      name.reference.find_first_of("/ ?#%") != std::string::npos) {
    return makeError(Code::invalidArgument, "'{}' is no image name", tag);
  }
  name.repository = name.registry == kDockerName && rest.find('/') == std::string::npos ? "library/" + rest : rest;
  return name;
}

Challenge parseChallenge(const std::string& header) {
  Challenge challenge;
  const auto space = header.find(' ');
  challenge.scheme = header.substr(0, space);
  for (char& c : challenge.scheme) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (std::size_t i = space == std::string::npos ? header.size() : space + 1; i < header.size();) {
    const auto equals = header.find('=', i);
    if (equals == std::string::npos) break;
    std::string name = header.substr(i, equals - i);
    std::string value;
    i = equals + 1;
    const bool quoted = i < header.size() && header[i] == '"';
    if (quoted) ++i;
    while (i < header.size() && header[i] != (quoted ? '"' : ',')) value += header[i++];
    while (i < header.size() && (header[i] == '"' || header[i] == ',' || header[i] == ' ')) ++i;
    challenge.parameters[name] = value;
  }
  return challenge;
}

Registry::Registry(std::string directory, std::vector<std::string> mirrors, Layers& layers, HttpFetch fetch)
    : directory_(std::move(directory)), mirrors_(std::move(mirrors)), layers_(layers), fetch_(std::move(fetch)) {}

bool Registry::unreachable(const std::string& host) {
  const std::lock_guard held(mutex_);
  const auto found = unreachableUntil_.find(host);
  return found != unreachableUntil_.end() && std::chrono::steady_clock::now() < found->second;
}

void Registry::remember(const std::string& host) {
  const std::lock_guard held(mutex_);
  unreachableUntil_[host] = std::chrono::steady_clock::now() + kLeftInPeace;
}

Result<Base> Registry::pull(const std::string& tag, const Recipe::Registry& credentials, const BuildLog& log) {
  // Images that needed credentials are not handed to who has none.
  const std::string record =
      directory_ + "/pulled/" + layerKey({tag, credentials.username, sha256(credentials.password).hex()}) + ".json";
  if (const auto text = readFile(record); text.ok()) {
    auto kept = readBase(*text);
    const auto there = [](const std::string& layer) { return ::access(layer.c_str(), F_OK) == 0; };
    if (kept && std::all_of(kept->layers.begin(), kept->layers.end(), there)) return std::move(*kept);
  }
  const bool file = tag.starts_with("oci-layout:") || tag.starts_with("docker-archive:");
  Result<Base> base = makeError(Code::unavailable, "");
  if (file) {
    base = fromFiles(tag, log);
  } else {
    ASSIGN_OR_RETURN(const ImageName name, parseImageName(tag));
    base = fromRegistry(name, credentials, log);
  }
  if (!base.ok() || file) return base;
  RETURN_IF_ERROR(makeDirectories(directory_ + "/pulled"));
  RETURN_IF_ERROR(writeFileAtomic(record, writeBase(*base), 0644, Durable::no));
  return base;
}

Result<Base> Registry::fromRegistry(const ImageName& name, const Recipe::Registry& credentials, const BuildLog& log) {
  std::vector<std::string> hosts = mirrors_;
  hosts.push_back(name.registry);
  std::optional<Error> failed;
  for (const std::string& host : hosts) {
    if (unreachable(host)) {
      if (!failed) failed = makeError(Code::unavailable, "registry {} could not be reached a moment ago", host);
      continue;
    }
    // A mirror has no business with the credentials for another registry.
    static const Recipe::Registry kAnonymous;
    Repository repository(fetch_, baseUrl(host), name.repository, host == name.registry ? credentials : kAnonymous);
    auto answer = repository.get("/manifests/" + name.reference, "");
    if (!answer.ok()) {
      if (answer.error().code == Code::unavailable) remember(host);
      if (!failed || host == name.registry) failed = answer.error();
      continue;
    }
    std::string manifest = answer->body;
    std::string digest = "sha256:" + sha256(manifest).hex();
    if (isDigest(name.reference) && digest != name.reference) {
      return makeError(Code::dataLoss, "{} answered with another manifest than {}", host, name.reference);
    }
    ASSIGN_OR_RETURN(const std::string chosen, chosenDigest(parsed(manifest)));
    if (!chosen.empty()) {
      ASSIGN_OR_RETURN(const HttpAnswer second, repository.get("/manifests/" + chosen, ""));
      manifest = second.body;
      digest = "sha256:" + sha256(manifest).hex();
      if (digest != chosen) return makeError(Code::dataLoss, "{} answered with another manifest than {}", host, chosen);
    }
    log(fmt::format("pulling {}/{}:{} ({})\n", host, name.repository, name.reference, digest));
    const Source source{[&repository](const std::string& blob, const std::string& file) -> Result<void> {
      ASSIGN_OR_RETURN(const HttpAnswer ignored, repository.get("/blobs/" + blob, file));
      (void)ignored;
      return {};
    }};
    return assemble(manifest, digest, source, log);
  }
  return *failed;
}

Result<Base> Registry::assemble(const std::string& manifestText, const std::string& digest, const Source& source,
                                const BuildLog& log) {
  const Json manifest = parsed(manifestText);
  ASSIGN_OR_RETURN(const WorkDirectory work, WorkDirectory::make(directory_ + "/layers"));
  const auto fetched = [&](const std::string& wanted) -> Result<std::string> {
    const std::string file = work.path() + "/" + wanted.substr(wanted.find(':') + 1);
    if (!isDigest(wanted)) return makeError(Code::invalidArgument, "the manifest names a blob '{}'", wanted);
    RETURN_IF_ERROR(source.blob(wanted, file));
    ASSIGN_OR_RETURN(const std::string found, hashOfFile(file));
    if (found != wanted) return makeError(Code::dataLoss, "the bytes received for {} are {}", wanted, found);
    return file;
  };
  const std::string configDigest = textOf(manifest.value("config", Json::object()), "digest");
  ASSIGN_OR_RETURN(const std::string configFile, fetched(configDigest));
  ASSIGN_OR_RETURN(const std::string config, readFile(configFile));
  Base base;
  base.key = "oci:" + digest;
  base.environment["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  applyConfig(parsed(config), base);
  if (!manifest.contains("layers") || !manifest["layers"].is_array()) {
    return makeError(Code::unimplemented, "the manifest {} has no layers (schema 1 images are not supported)", digest);
  }
  for (const Json& layer : manifest["layers"]) {
    const std::string blob = textOf(layer, "digest");
    ASSIGN_OR_RETURN(const auto made,
                     layers_.make(layerKey({"oci", blob}), [&](const std::string& into) -> Result<void> {
                       log(fmt::format("   layer {}\n", blob.substr(0, 19)));
                       ASSIGN_OR_RETURN(const std::string file, fetched(blob));
                       RETURN_IF_ERROR(unpackArchive(file, into, Whiteouts::overlaid));
                       ::unlink(file.c_str());
                       return {};
                     }));
    base.layers.insert(base.layers.begin(), made.path);
  }
  return base;
}

Result<Base> Registry::fromFiles(const std::string& tag, const BuildLog& log) {
  const std::string path = tag.substr(tag.find(':') + 1);
  ASSIGN_OR_RETURN(const WorkDirectory work, WorkDirectory::make(directory_ + "/layers"));
  std::string root = path;
  if (!fs::is_directory(path)) {
    root = work.path();
    RETURN_IF_ERROR(unpackArchive(path, root, Whiteouts::asFiles));
  }
  const Stack files({root});  // links in it lead nowhere else
  const Source source{[&files](const std::string& blob, const std::string& file) -> Result<void> {
    ASSIGN_OR_RETURN(const std::string bytes, files.read("/blobs/sha256/" + blob.substr(7)));
    return writeFileAtomic(file, bytes, 0600, Durable::no);
  }};
  if (const auto index = files.read("/index.json"); index.ok()) {
    std::string manifest = *index;
    std::string digest;
    for (int depth = 0; depth < 4; ++depth) {
      ASSIGN_OR_RETURN(const std::string chosen, chosenDigest(parsed(manifest)));
      if (chosen.empty()) return assemble(manifest, digest, source, log);
      if (!isDigest(chosen)) return makeError(Code::invalidArgument, "{}: '{}' is no digest", tag, chosen);
      digest = chosen;
      ASSIGN_OR_RETURN(manifest, files.read("/blobs/sha256/" + digest.substr(7)));
      if ("sha256:" + sha256(manifest).hex() != digest)
        return makeError(Code::dataLoss, "{}: {} is damaged", tag, digest);
    }
    return makeError(Code::invalidArgument, "{}: indexes nested too deep", tag);
  }
  // `docker save` of older Dockers: the layers by path. They are named here by what they hold.
  ASSIGN_OR_RETURN(const std::string listing, files.read("/manifest.json"));
  const Json items = Json::parse(listing, nullptr, false);
  if (!items.is_array() || items.empty()) return makeError(Code::invalidArgument, "{}: no image in it", tag);
  std::map<std::string, std::string> paths;  // digest → path
  const auto named = [&](const std::string& inside) -> Result<Json> {
    const auto entry = files.find("/" + inside);
    if (!entry) return makeError(Code::notFound, "{}: {} is not in it", tag, inside);
    ASSIGN_OR_RETURN(const std::string digest, hashOfFile(entry->host));
    paths[digest] = "/" + inside;
    return Json{{"digest", digest}};
  };
  Json manifest;
  ASSIGN_OR_RETURN(manifest["config"], named(textOf(items[0], "Config")));
  manifest["layers"] = Json::array();
  for (const std::string& layer : wordsOf(items[0], "Layers")) {
    ASSIGN_OR_RETURN(Json item, named(layer));
    manifest["layers"].push_back(std::move(item));
  }
  const Source byPath{[&](const std::string& blob, const std::string& file) -> Result<void> {
    ASSIGN_OR_RETURN(const std::string bytes, files.read(paths[blob]));
    return writeFileAtomic(file, bytes, 0600, Durable::no);
  }};
  return assemble(manifest.dump(), "sha256:" + sha256(manifest.dump()).hex(), byPath, log);
}

}  // namespace gridiron::image
