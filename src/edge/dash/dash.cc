#include "edge/dash/dash.h"

#include <algorithm>
#include <array>

#include "base/digest.h"
#include "edge/dash/metrics.h"
#include "edge/dash/text.h"
#include "edge/dash/web_files.h"

namespace gridiron::edge {
namespace {

constexpr std::size_t kMostBody = 1024 * 1024;

bool secure(const net::RequestHead& head) { return head.scheme == "https"; }

// With TLS the prefix binds the cookie to this very host: functions answer on its subdomains.
std::string cookieName(const net::RequestHead& head) { return secure(head) ? "__Host-gridiron" : "gridiron"; }

net::Headers pageHeaders(const std::string& type) {
  net::Headers headers;
  headers.add("content-type", type);
  headers.add("cache-control", "no-store");
  headers.add("x-content-type-options", "nosniff");
  headers.add("referrer-policy", "same-origin");  // with no-referrer, browsers send "Origin: null"
  headers.add("content-security-policy",
              "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
              "img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'");
  return headers;
}

// Where to go after signing in: only a path of this page.
std::string safeNext(const std::string& next) {
  bool fine = next.starts_with('/') && !next.starts_with("//") &&
              std::none_of(next.begin(), next.end(), [](unsigned char c) { return c < 0x21 || c == '\\' || c > 0x7e; });
  return fine ? next : "/";
}

// Browsers say where a form or a script that sends comes from; programs do not.
bool sameOrigin(const net::RequestHead& head) {
  auto origin = head.headers.find("origin");
  if (!origin) return true;
  auto scheme = origin->find("://");
  return scheme != std::string_view::npos && origin->substr(scheme + 3) == head.authority;
}

}  // namespace

// One request, what is known of it, and the answer that is made for it.
struct Dash::Visit {
  const net::RequestHead& head;
  Target target;
  std::string body;
  std::map<std::string, std::string> form;
  std::string cookie;
  const Session* session = nullptr;

  int status = 200;
  net::Headers headers;
  std::string answer;

  std::string field(const std::string& name) const {
    auto found = form.find(name);
    return found == form.end() ? "" : found->second;
  }
  void show(int code, const std::string& file, const std::map<std::string, std::string>& values) {
    status = code;
    headers = pageHeaders("text/html; charset=utf-8");
    answer = fillTemplate(webFiles().at(file), values);
  }
  void tell(int code, const std::string& title, const std::string& text) {
    show(code, "message.html", {{"title", title}, {"text", text}});
  }
  void redirect(const std::string& where) {
    status = 303;
    headers = pageHeaders("text/plain");
    headers.add("location", where);
    answer.clear();
  }
  void asset(const std::string& file, const std::string& type) {
    headers = pageHeaders(type);
    answer = std::string(webFiles().at(file));
  }
  void json(const AdminAnswer& given) {
    status = given.status;
    headers = pageHeaders("application/json");
    answer = given.body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
};

Dash::Dash(AdminApi& api) : api_(api), sessions_(api.parts().clock) {
  api_.onSignInLink([this] {
    const std::string& workspace = api_.parts().catalog.workspace().name;
    return "/sign-in/" + sessions_.issueCode({workspace, workspace});
  });
}

net::HttpHandler Dash::handler() {
  return [this](std::shared_ptr<net::Exchange> exchange) { return handle(std::move(exchange)); };
}

Task<void> Dash::handle(std::shared_ptr<net::Exchange> exchange) {
  const net::RequestHead& head = exchange->head();
  Visit visit{head, parseTarget(head.target), {}, {}, {}, nullptr, 200, {}, {}};
  auto body = co_await readBody(exchange, kMostBody);
  if (body.ok()) {
    visit.body = std::move(*body);
    auto type = head.headers.find("content-type");
    if (type && type->starts_with("application/x-www-form-urlencoded")) visit.form = parseForm(visit.body);
    auto cookies = head.headers.find("cookie");
    if (cookies) visit.cookie = findCookie(*cookies, cookieName(head)).value_or("");
    if (!visit.cookie.empty()) visit.session = sessions_.find(visit.cookie);
    route(visit);
  } else if (body.error().code == Code::exhausted) {
    visit.tell(413, "Too large", body.error().message);
  } else {
    visit.tell(400, "Not understood", body.error().message);
  }
  if (head.method == "HEAD") visit.answer.clear();
  auto sent = co_await exchange->answer(visit.status, std::move(visit.headers), std::move(visit.answer));
  (void)sent;  // whoever asked has gone: nothing to be done
}

void Dash::route(Visit& visit) {
  const std::string& path = visit.target.path;
  if (visit.head.method == "POST" && !sameOrigin(visit.head))
    return visit.tell(403, "Not from this page", "This request was sent by another site.");
  bool reads = visit.head.method == "GET" || visit.head.method == "HEAD";
  if (reads && path == "/assets/style.css") return visit.asset("style.css", "text/css; charset=utf-8");
  if (reads && path == "/assets/page.js") return visit.asset("page.js", "text/javascript; charset=utf-8");
  if (path == "/sign-in") return signIn(visit);
  if (path.starts_with("/sign-in/")) return signInByLink(visit, path.substr(9));
  if (path.starts_with("/api/")) return api(visit);
  if (reads && path == "/metrics") return metrics(visit);
  if (path.starts_with("/token-flow/")) return tokenFlow(visit, path.substr(12));
  if (path == "/sign-out") return signOut(visit);
  // "/home": where `modal setup` sends the browser at its end.
  if (!reads || (path != "/" && path != "/home"))
    return visit.tell(404, "Nothing here", "There is no page " + path + ".");
  if (!visit.session) return visit.redirect("/sign-in");
  visit.show(200, "index.html", {{"csrf", visit.session->csrf}});
}

void Dash::startSession(Visit& visit, const Person& who, const std::string& next) {
  std::string cookie = sessions_.open(who);
  visit.redirect(safeNext(next));
  visit.headers.add("set-cookie", cookieName(visit.head) + "=" + cookie + "; Path=/; HttpOnly; SameSite=Lax" +
                                      (secure(visit.head) ? "; Secure" : ""));
}

void Dash::signIn(Visit& visit) {
  if (visit.head.method != "POST") {
    if (visit.session) return visit.redirect("/");
    return visit.show(200, "sign_in.html", {{"next", safeNext(visit.target.query["next"])}});
  }
  std::string next = safeNext(visit.field("next"));
  if (!sessions_.mayTry())
    return visit.show(429, "sign_in.html",
                      {{"next", next}, {"problem", "Too many failed attempts: try again in a minute."}});
  auto token = api_.parts().catalog.authenticate(visit.field("token_id"), visit.field("token_secret"));
  if (token.ok()) return startSession(visit, {token->workspace, token->username}, next);
  sessions_.failed();
  visit.show(401, "sign_in.html", {{"next", next}, {"problem", "This is not a token of this grid."}});
}

void Dash::signInByLink(Visit& visit, const std::string& code) {
  // Opening the link does not use it up: mail and chat programs open links too.
  if (visit.head.method != "POST") return visit.show(200, "link.html", {{"action", "/sign-in/" + code}});
  auto who = sessions_.redeem(code);
  if (who) return startSession(visit, *who, "/");
  visit.tell(410, "This link is used up", "Links sign in once, within an hour. `gridiron sign-in` prints another.");
}

// Requests that change something must come from the page itself: its Origin (when the browser tells) and the session's
// own CSRF token.
bool Dash::mayChange(const Visit& visit) const {
  if (!sameOrigin(visit.head)) return false;
  auto header = visit.head.headers.find("x-gridiron-csrf");
  std::string given = header ? std::string(*header) : visit.field("csrf");
  return equalConstantTime(given, visit.session->csrf);
}

void Dash::signOut(Visit& visit) {
  if (visit.head.method != "POST" || !visit.session || !mayChange(visit)) return visit.redirect("/");
  sessions_.close(visit.cookie);
  visit.redirect("/sign-in");
}

void Dash::tokenFlow(Visit& visit, const std::string& id) {
  bool plausible = std::all_of(id.begin(), id.end(), [](unsigned char c) { return std::isalnum(c) || c == '-'; });
  if (plausible && !visit.session) return visit.redirect("/sign-in?next=/token-flow/" + id);
  Catalog& catalog = api_.parts().catalog;
  auto flow = plausible ? catalog.tokenFlow(id) : std::nullopt;
  if (!flow)
    return visit.tell(404, "No such request", "It was answered already, or is too old. Start `modal setup` again.");
  if (visit.head.method != "POST")
    return visit.show(200, "approve.html",
                      {{"workspace", visit.session->who.workspace},
                       {"action", "/token-flow/" + id},
                       {"csrf", visit.session->csrf},
                       {"code", flow->code.empty() ? "" : " and its code is " + flow->code}});
  if (!mayChange(visit)) return visit.tell(403, "Not from this page", "Open the request's address again.");
  bool approve = visit.field("decision") == "approve";
  auto done = approve ? catalog.approveTokenFlow(id, visit.session->who.username) : catalog.refuseTokenFlow(id);
  if (!done.ok()) return visit.tell(409, "That did not work", done.error().message);
  if (approve) return visit.tell(200, "Connected", "The client has its token: go on in the terminal.");
  visit.tell(200, "Refused", "The client gets no token.");
}

// Prometheus gives a token as basic authentication (id and secret) or as a bearer ("ak-….as-…").
void Dash::metrics(Visit& visit) {
  constexpr std::string_view kBasic = "Basic ", kBearer = "Bearer ";
  const std::string_view given = visit.head.headers.find("authorization").value_or("");
  std::string token;
  if (given.starts_with(kBearer)) token = given.substr(kBearer.size());
  if (given.starts_with(kBasic)) token = base64Decode(given.substr(kBasic.size())).value_or("");
  const std::size_t at = token.find(given.starts_with(kBasic) ? ':' : '.');
  const bool tried = at != std::string::npos && sessions_.mayTry();
  if (tried && api_.parts().catalog.authenticate(token.substr(0, at), token.substr(at + 1)).ok()) {
    visit.headers = pageHeaders("text/plain; version=0.0.4; charset=utf-8");
    visit.answer = metricsText(api_.parts());
    return;
  }
  if (tried) sessions_.failed();
  visit.status = 401;
  visit.headers = pageHeaders("text/plain; charset=utf-8");
  visit.headers.add("www-authenticate", "Basic realm=\"gridiron\"");
  visit.answer = "Metrics are for who has a token of this grid: its id and secret as user and password.\n";
}

void Dash::api(Visit& visit) {
  if (!visit.session) return visit.json({401, {{"error", "sign in first"}}});
  bool reads = visit.head.method == "GET";
  if (!reads && !mayChange(visit)) return visit.json({403, {{"error", "this request does not come from the page"}}});
  std::string path = "/v1/" + visit.target.path.substr(5);
  static const std::array<std::string, 4> readable = {"/v1/status", "/v1/apps", "/v1/usage", "/v1/logs"};
  const auto isUnder = [&](const std::string& parent) { return path == parent || path.starts_with(parent + "/"); };
  const bool changeable = isUnder("/v1/secrets") || isUnder("/v1/proxy-tokens");
  if (!changeable && (!reads || std::find(readable.begin(), readable.end(), path) == readable.end()))
    return visit.json({404, {{"error", "no such thing: " + visit.target.path}}});
  auto body = readJson(visit.body);
  if (!body.ok()) return visit.json(adminErrorAnswer(body.error()));
  visit.json(api_.answer({visit.head.method, path, visit.target.query, std::move(*body)}));
}

}  // namespace gridiron::edge
