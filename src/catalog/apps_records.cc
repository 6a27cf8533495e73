#include "catalog/apps_records.h"

namespace gridiron::records {

Object objectOf(const App& app) {
  return {"app",    app.id.str(),      app.workspace, app.environment,
          app.name, isLive(app.state), app.createdAt, encodeApp(app)};
}

Object objectOf(const Function& function, Time now) {
  return {"function", function.id.str(),       function.workspace, function.environment, "", true,
          now,        encodeFunction(function)};
}

Object definitionOf(const Function& function, Time now) {
  return {"definition", function.definitionId.str(), function.workspace, function.environment, "", true,
          now,          encodeFunction(function)};
}

Object objectOf(const App& app, const AppVersion& version) {
  Json functions = Json::object();
  for (const auto& [tag, ids] : version.functions) functions[tag] = {ids.first.str(), ids.second.str()};
  Json classes = Json::object();
  for (const auto& [name, id] : version.classes) classes[name] = id.str();
  Json json{{"version", version.version},
            {"client_version", version.clientVersion},
            {"deployed_by", version.deployedBy},
            {"tag", version.tag},
            {"rollback_of", version.rollbackOf},
            {"rollover", version.rollover},
            {"commit_info", base64Encode(version.commitInfo)},
            {"functions", functions},
            {"classes", classes}};
  return {"app_version",
          fmt::format("{}/{:06}", app.id.str(), version.version),
          app.workspace,
          app.environment,
          "",
          true,
          version.deployedAt,
          dump(json)};
}

Object objectOf(const FunctionId& id, const Function& function, const Binding& binding, Time now) {
  Json json{{"base", binding.base.str()},
            {"parameters", base64Encode(binding.parameters)},
            {"options", base64Encode(binding.options)}};
  return {"binding", id.str(), function.workspace, function.environment, "", true, now, dump(json)};
}

Result<AppVersion> readVersion(const Object& object) {
  AppVersion version;
  version.deployedAt = object.createdAt;
  RETURN_IF_ERROR(parse(object, [&](const Json& json) {
    json.at("version").get_to(version.version);
    json.at("client_version").get_to(version.clientVersion);
    json.at("deployed_by").get_to(version.deployedBy);
    json.at("tag").get_to(version.tag);
    json.at("rollback_of").get_to(version.rollbackOf);
    version.rollover = json.value("rollover", false);  // versions of before had none
    version.commitInfo = bytesOf(json.at("commit_info").get<std::string>());
    for (const auto& [tag, ids] : json.at("functions").items())
      version.functions[tag] = {FunctionId{ids.at(0).get<std::string>()}, DefinitionId{ids.at(1).get<std::string>()}};
    for (const auto& [name, id] : json.at("classes").items()) version.classes[name] = {id.get<std::string>()};
  }));
  return version;
}

Result<Binding> readBinding(const Object& object) {
  Binding binding;
  RETURN_IF_ERROR(parse(object, [&](const Json& json) {
    json.at("base").get_to(binding.base.value);
    binding.parameters = bytesOf(json.at("parameters").get<std::string>());
    binding.options = bytesOf(json.at("options").get<std::string>());
  }));
  return binding;
}

}  // namespace gridiron::records
