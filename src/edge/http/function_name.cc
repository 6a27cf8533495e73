#include "edge/http/function_name.h"

namespace gridiron::edge {

std::string functionName(const Function& function, const std::string& method) {
  if (method.empty()) return function.tag;
  const std::size_t dot = function.tag.rfind('.');  // "Cls.*", the pool of a class
  return (dot == std::string::npos ? function.tag : function.tag.substr(0, dot)) + "." + method;
}

Result<FunctionPath> parseFunctionPath(const std::string& text) {
  const std::size_t last = text.rfind('/');
  if (last == std::string::npos) return Error{Code::invalidArgument, "no app before the function"};
  const std::string before = text.substr(0, last);
  const std::size_t first = before.find('/');
  FunctionPath path;
  path.function = text.substr(last + 1);
  if (first != std::string::npos) path.environment = before.substr(0, first);
  path.app = first == std::string::npos ? before : before.substr(first + 1);
  if (path.app.empty() || path.function.empty()) return Error{Code::invalidArgument, "an empty name"};
  return path;
}

}  // namespace gridiron::edge
