#pragma once

#include <map>
#include <string>
#include <string_view>

#include "edge/http/router.h"
#include "model/function.h"
#include "net/http.h"
#include "wire/asgi.h"

namespace gridiron::edge {

// What a web function is told of a request. Hop-by-hop headers, X-Forwarded-For and proxy tokens are taken out. A
// function that is reached by path gets the prefix as root_path, with `path` including it; a @web_server, which knows
// no prefixes, gets a path without it.
wire::HttpScope scopeOf(const net::RequestHead& head, const FunctionAddress& address, WebKind kind);

// An app's response headers as they may go out: names in lower case, hop-by-hop ones and ill-formed ones left out.
net::Headers responseHeaders(const wire::HeaderList& headers);

// "%C3%A9" -> "é"; what is no escape stays as it is.
std::string percentDecode(std::string_view text);

// Names and values of "a=1&b=%20x+y", decoded. The first of several of a name.
std::map<std::string, std::string> queryFields(std::string_view query);

}  // namespace gridiron::edge
