#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/clock.h"

namespace gridiron::edge {

struct Person {
  std::string workspace;
  std::string username;
  bool operator==(const Person&) const = default;
};

// A browser that is signed in.
struct Session {
  Person who;
  std::string csrf;  // what its requests that change something must carry
  Time until{};
};

// Who is signed in to the page. In memory: a restart signs everybody out. Loop thread only.
class Sessions {
 public:
  explicit Sessions(const Clock& clock) : clock_(clock) {}

  // Signs in for twelve hours; gives the cookie's value. With many sessions the one that ends first goes.
  std::string open(const Person& who);
  const Session* find(const std::string& cookie);
  void close(const std::string& cookie);

  // A code that signs in once, within an hour.
  std::string issueCode(const Person& who);
  // Whom it signs in; the code is used up. Nothing when it is not (or no longer) good.
  std::optional<Person> redeem(const std::string& code);

  // Whether another attempt with a token is let through: twenty failures a minute, from all together, are enough.
  bool mayTry() const;
  void failed();

 private:
  struct Code {
    Person who;
    Time until{};
  };
  void dropOld();

  const Clock& clock_;
  std::map<std::string, Session> sessions_;  // by the SHA-256 of the cookie
  std::map<std::string, Code> codes_;        // by the SHA-256 of the code
  Time minute_{};
  int failures_ = 0;
};

}  // namespace gridiron::edge
