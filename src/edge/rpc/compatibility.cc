#include "edge/rpc/compatibility.h"

#include <google/protobuf/descriptor.h>

#include "modal_proto/api.pb.h"
#include "modal_proto/task_command_router.pb.h"

namespace gridiron::edge {

namespace {

using google::protobuf::ServiceDescriptor;

void addService(const ServiceDescriptor& service, const std::map<std::string, Method>& known, std::string& rows,
                int& works, int& partly) {
  rows += fmt::format("\n## {}\n\n| RPC | works | note |\n| --- | --- | --- |\n", service.full_name());
  for (int i = 0; i < service.method_count(); ++i) {
    const auto found = known.find("/" + service.full_name() + "/" + service.method(i)->name());
    std::string state = "not";
    std::string note;
    if (found != known.end()) {
      const bool whole = found->second.works == Works::yes;
      state = whole ? "yes" : "partly";
      note = found->second.note;
      ++(whole ? works : partly);
    }
    rows += fmt::format("| {} | {} | {} |\n", service.method(i)->name(), state, note);
  }
}

}  // namespace

std::string compatibilityPage(const RpcServer& server) {
  std::map<std::string, Method> known;
  for (const RpcServer::Row& row : server.table()) known[row.path] = row.method;
  const ServiceDescriptor& client = *modal::client::AppCreateRequest::descriptor()->file()->service(0);
  const ServiceDescriptor& router = *modal::task_command_router::TaskExecStartRequest::descriptor()->file()->service(0);
  std::string rows;
  int works = 0;
  int partly = 0;
  addService(client, known, rows, works, partly);
  addService(router, known, rows, works, partly);
  return fmt::format(
             "# What of the client API works\n\n"
             "Made from what the server registers (`edge/rpc`), and kept true by a test. What says \"not\" answers\n"
             "UNIMPLEMENTED with a text that says so.\n\n"
             "{} RPCs: {} work, {} partly, {} not.\n",
             client.method_count() + router.method_count(), works, partly,
             client.method_count() + router.method_count() - works - partly) +
         rows;
}

}  // namespace gridiron::edge
