#include "edge/http/server_timing.h"

#include <fmt/format.h>

#include <cctype>
#include <chrono>

namespace gridiron::edge {

std::string serverTiming(std::span<const TimedPhase> phases) {
  std::string out;
  for (const TimedPhase& phase : phases) {
    if (phase.took < Nanos::zero() || phase.name.empty()) continue;
    if (!out.empty()) out += ", ";
    for (char c : phase.name) out += std::isalnum(static_cast<unsigned char>(c)) || c == '_' ? c : '-';
    out += fmt::format(";dur={:.1f}", std::chrono::duration<double, std::milli>(phase.took).count());
    if (phase.note.empty()) continue;
    out += ";desc=\"";
    for (char c : phase.note) out += c >= ' ' && c <= '~' && c != '"' && c != '\\' ? c : ' ';
    out += '"';
  }
  return out;
}

}  // namespace gridiron::edge
