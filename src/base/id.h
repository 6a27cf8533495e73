#pragma once

#include <compare>
#include <functional>
#include <string>
#include <string_view>

namespace gridiron {

// A name for one thing of kind Tag: "<prefix>-<22 letters and digits>" as the clients expect (an app id must match
// ^ap-[a-zA-Z0-9]{22}$). Empty means "none". Tag is a struct with `static constexpr const char* prefix`.
template <class Tag>
struct Id {
  std::string value;

  bool empty() const { return value.empty(); }
  const std::string& str() const { return value; }
  auto operator<=>(const Id&) const = default;
};

// 22 random letters and digits (130 bits, from the kernel's generator) behind "<prefix>-". Any thread.
std::string randomId(std::string_view prefix);

// 22 letters and digits behind "<prefix>-", a function of `content` only (SHA-256): equal content, equal id.
std::string contentId(std::string_view prefix, std::string_view content);

// `n` random letters and digits for tokens and secrets; from the kernel's generator.
std::string randomAlnum(std::size_t n);

template <class Tag>
Id<Tag> newId() {
  return Id<Tag>{randomId(Tag::prefix)};
}

}  // namespace gridiron

template <class Tag>
struct std::hash<gridiron::Id<Tag>> {
  std::size_t operator()(const gridiron::Id<Tag>& id) const noexcept { return std::hash<std::string>{}(id.value); }
};
