// The registry of methods: what each brings, and that nothing else knows their names.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <typeinfo>

#include "methods/method.h"
#include "pastiche/backend.h"
#include "refusal.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;

std::set<std::string> shared_names() {
  std::set<std::string> names;
  TrainConfig config;
  visit_shared_options(config, [&](const Option& option, auto&) { names.insert(option.name); });
  return names;
}

TEST(Methods, EachBringsWhatItPromises) {
  std::set<std::string> names;
  std::map<std::string, std::string> types;  // of own options: methods that share a name share the type, too
  for (const Method* method : methods()) {
    SCOPED_TRACE(method->name());
    EXPECT_TRUE(names.insert(method->name()).second);
    EXPECT_NE(std::string(method->summary()), "");
    EXPECT_FALSE(method->bench_sizes().empty());
    const std::set<std::string> shared = shared_names();
    for (const std::string_view name : method->shared_options()) EXPECT_TRUE(shared.contains(std::string(name))) << name;

    for (const std::string preset : {"small", "full"}) {
      if (preset != "small" && !has_option(method->name(), "preset")) continue;
      TrainConfig config = default_config(method->name(), preset);
      EXPECT_EQ(config.model, method->name());
      validate(config);
      EXPECT_EQ(config.kimg, method->default_kimg());
      TrainConfig read = default_config(method->name());
      parse_config(config_to_toml(config), "config.toml", read);
      EXPECT_EQ(config_to_json(read), config_to_json(config));
    }
    TrainConfig usual = default_config(method->name());
    visit_own_options(usual, [&](const Option& option, const auto& member) {
      const std::string type = typeid(member).name();
      EXPECT_EQ(types.emplace(option.name, type).first->second, type) << option.name;
      EXPECT_FALSE(shared.contains(option.name)) << option.name;
      EXPECT_NE(methods_with_option(option.name), "") << option.name;
    });
  }
  EXPECT_NE(refusal(ExitCode::usage, [] { find_method("stargan"); }).find(method_list()), std::string::npos);
}

TEST(Methods, OptionsAreCopiedWithTheConfig) {
  TrainConfig a = default_config("cut");
  TrainConfig b = a;
  parse_config("patches = 7", "b", b);
  EXPECT_NE(config_to_json(a), config_to_json(b));
  a = b;
  EXPECT_EQ(config_to_json(a), config_to_json(b));
}

TEST(Methods, TakeNoOptionOfAnother) {
  const auto refused = [](const char* method, const char* toml, const ForeignKeys& allowed = {}) {
    TrainConfig config = default_config(method);
    return refusal(ExitCode::bad_data, [&] { parse_config(toml, "c.toml", config, allowed); });
  };
  EXPECT_EQ(refused("dcgan", "batch = 8\nlambda-nce = 2"), "c.toml:2:1: lambda-nce is an option of cut, and this is dcgan");
  EXPECT_EQ(refused("article", "ngf = 8"), "c.toml:1:1: ngf is an option of dcgan, r3gan, cut, cyclegan or pix2pix, and this is article");
  EXPECT_EQ(refused("cut", "nz = 8"), "c.toml:1:1: nz is an option of dcgan, r3gan or article, and this is cut");
  // A file says its method, wherever in it, which decides over all of its keys.
  EXPECT_EQ(refused("dcgan", "nz = 8\nmodel = 'cut'"), "c.toml:1:1: nz is an option of dcgan, r3gan or article, and this is cut");
  TrainConfig config;
  parse_config("patches = 8\nmodel = 'cut'", "c.toml", config);
  EXPECT_EQ(config.model, "cut");
  EXPECT_NE(config_to_json(config).find("\"patches\":8"), std::string::npos);
  EXPECT_EQ(refused("dcgan", "patches = 8\nmodel = 'cut'", {.method = false}), "c.toml:1:1: patches is an option of cut, and this is dcgan");

  // Version 0.1 wrote every method's options into each file. They are passed over there, and in a run's own file.
  parse_config("base = 0\nd_norm = true\nlambda-l1 = 2\nlambda-cycle = 3\nlambda-identity = 1\npool = 50\nlambda-nce = 7\npatches = 9\ntemperature = 1\ncrop = 1",
               "c.toml", config = default_config("dcgan"));
  EXPECT_NE(config_to_json(config).find("\"d-norm\":true"), std::string::npos);
  EXPECT_EQ(refused("dcgan", "patches = 8\nlambda-cycle = 3"), "c.toml:1:1: patches is an option of cut, and this is dcgan");
  const std::string before = config_to_json(config = default_config("dcgan"));
  parse_config("lambda-nce = 2\nstyle = 'x'", "c.toml", config, {.options = true});
  EXPECT_EQ(config_to_json(config), before);

  // The same where a program sets a member.
  config.style = "paintings";
  TrainConfig full = default_config("dcgan");
  full.preset = "full";
  EXPECT_NE(refusal(ExitCode::usage, [&] { validate(full); }).find("--preset is an option of"), std::string::npos);
  EXPECT_EQ(refusal(ExitCode::usage, [&] { validate(config); }), "--style is an option of cut, cyclegan or pix2pix, and this is dcgan");
}

// A config whose options are of another method than it says was put together by hand.
TEST(Methods, RefuseAConfigOfTwoMethods) {
  TrainConfig config;
  config.model = "cut";
  config.ngf = config.ndf = 4;
  const auto backend = make_backend("cpu", 1);
  EXPECT_NE(refusal(ExitCode::usage, [&] { make_translation_trainer(*backend, config, {}); }).find("make it by default_config()"), std::string::npos);
  EXPECT_NE(refusal(ExitCode::usage, [&] { make_translation_trainer(*backend, TrainConfig(), {}); }).find("'dcgan' does not translate"), std::string::npos);
}

// Whoever adds a method writes its file and a line of the registry.
TEST(Methods, AreNamedInTheirOwnFilesAlone) {
  const fs::path root = fs::path(PASTICHE_TEST_DIR).parent_path();
  for (const char* folder : {"src", "include", "bench"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension();
      if (extension != ".cpp" && extension != ".h" && extension != ".cu") continue;
      const bool is_own = entry.path().parent_path().filename() == "methods";
      std::stringstream text;
      text << std::ifstream(entry.path()).rdbuf();
      for (const Method* method : methods()) {
        const bool named = text.str().find(fmt::format("\"{}\"", method->name())) != std::string::npos;
        const bool of_its_own = is_own && entry.path().stem() == method->name();
        EXPECT_EQ(named, of_its_own) << entry.path() << " and " << method->name();
      }
    }
  }
}

}  // namespace
}  // namespace pastiche
