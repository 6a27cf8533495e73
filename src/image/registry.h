#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/base.h"
#include "image/image.h"
#include "image/layers.h"

namespace gridiron::image {

// One GET, redirects followed. `toFile` not empty: the body of a 200 goes there.
struct HttpGet {
  std::string url;
  std::vector<std::string> headers;
  std::string toFile;
};
struct HttpAnswer {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};
// An Error (unavailable) when no answer came.
using HttpFetch = std::function<Result<HttpAnswer>(const HttpGet&)>;
// Over libcurl: the host's proxies and CA bundle, 3 s to connect.
HttpFetch curlFetch();

// "ghcr.io/a/b:tag" taken apart; the parts that are left out are Docker's: docker.io, library/, latest.
struct ImageName {
  std::string registry;    // host[:port], or with http:// before it
  std::string repository;  // "library/python"
  std::string reference;   // a tag or "sha256:…"
};
Result<ImageName> parseImageName(const std::string& tag);

// The answer to a Bearer or Basic challenge: "realm", "service", "scope" of a WWW-Authenticate header.
struct Challenge {
  std::string scheme;  // lower case
  std::map<std::string, std::string> parameters;
};
Challenge parseChallenge(const std::string& header);

// Images of registries, of OCI layouts ("oci-layout:/directory") and of `docker save` files ("docker-archive:/file").
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md
class Registry {
 public:
  // `mirrors` are asked before an image's own registry. Pulled images are remembered under `directory`/pulled by tag
  // and given again without asking, as long as their layers are there.
  Registry(std::string directory, std::vector<std::string> mirrors, Layers& layers, HttpFetch fetch);

  // unavailable when no registry answered. A registry that could not be reached is left in peace for some minutes.
  Result<Base> pull(const std::string& tag, const Recipe::Registry& credentials, const BuildLog& log);

 private:
  struct Source;
  Result<Base> fromRegistry(const ImageName& name, const Recipe::Registry& credentials, const BuildLog& log);
  Result<Base> fromFiles(const std::string& tag, const BuildLog& log);
  Result<Base> assemble(const std::string& manifest, const std::string& digest, const Source& source,
                        const BuildLog& log);
  bool unreachable(const std::string& host);
  void remember(const std::string& host);

  std::string directory_;
  std::vector<std::string> mirrors_;
  Layers& layers_;
  HttpFetch fetch_;
  std::mutex mutex_;
  std::map<std::string, std::chrono::steady_clock::time_point> unreachableUntil_;
};

}  // namespace gridiron::image
