#include "edge/dash/sessions.h"

#include <algorithm>

#include "base/digest.h"
#include "base/id.h"

namespace gridiron::edge {
namespace {

constexpr auto kSessionLasts = std::chrono::hours(12);
constexpr auto kCodeLasts = std::chrono::hours(1);
constexpr std::size_t kMostSessions = 1000;
constexpr int kMostFailures = 20;

template <class Map>
void eraseEnded(Map& map, Time now) {
  std::erase_if(map, [now](const auto& entry) { return entry.second.until <= now; });
}

}  // namespace

void Sessions::dropOld() {
  eraseEnded(sessions_, clock_.now());
  eraseEnded(codes_, clock_.now());
  while (sessions_.size() >= kMostSessions)
    sessions_.erase(std::min_element(sessions_.begin(), sessions_.end(),
                                     [](auto& a, auto& b) { return a.second.until < b.second.until; }));
}

std::string Sessions::open(const Person& who) {
  dropOld();
  std::string cookie = randomAlnum(43);
  sessions_[sha256(cookie).hex()] = Session{who, randomAlnum(32), clock_.now() + kSessionLasts};
  return cookie;
}

const Session* Sessions::find(const std::string& cookie) {
  auto found = sessions_.find(sha256(cookie).hex());
  return found == sessions_.end() || found->second.until <= clock_.now() ? nullptr : &found->second;
}

void Sessions::close(const std::string& cookie) { sessions_.erase(sha256(cookie).hex()); }

std::string Sessions::issueCode(const Person& who) {
  dropOld();
  std::string code = randomAlnum(32);
  codes_[sha256(code).hex()] = Code{who, clock_.now() + kCodeLasts};
  return code;
}

std::optional<Person> Sessions::redeem(const std::string& code) {
  dropOld();
  auto found = codes_.find(sha256(code).hex());
  if (found == codes_.end()) return std::nullopt;
  Person who = found->second.who;
  codes_.erase(found);
  return who;
}

bool Sessions::mayTry() const { return failures_ < kMostFailures || clock_.now() - minute_ >= std::chrono::minutes(1); }

void Sessions::failed() {
  if (clock_.now() - minute_ >= std::chrono::minutes(1)) {
    minute_ = clock_.now();
    failures_ = 0;
  }
  ++failures_;
}

}  // namespace gridiron::edge
