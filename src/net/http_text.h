#pragma once

#include <string>
#include <string_view>

#include "net/http.h"

namespace gridiron::net {

// What HTTP/1.1 and HTTP/2 have in common. Any thread.

bool isToken(std::string_view text);       // RFC 9110 §5.6.2, never empty
bool isFieldValue(std::string_view text);  // no control characters but the tab
bool equalsNoCase(std::string_view a, std::string_view b);
std::string lowerCase(std::string_view text);
std::string_view trimSpace(std::string_view text);  // spaces and tabs at both ends

// Connection, Transfer-Encoding and the like, which belong to one hop. `name` in lower case.
bool isHopByHop(std::string_view name);

// The status line's phrase; "" for codes that have none.
std::string_view reasonPhrase(int status);

// "Tue, 24 Nov 2026 06:24:54 GMT"; formatted once a second. Loop thread only (one copy a thread).
const std::string& dateNow();

// An answer's head must not be able to split it: ok, or internal with the field's name.
Result<void> checkAnswerHead(int status, const Headers& headers);

}  // namespace gridiron::net
