#include "main/trust.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/subprocess.h"
#include "base/testing.h"

namespace gridiron {
namespace {

using testing::HasSubstr;

class Trust : public testing::Test {
 protected:
  std::string certificate(const std::string& name, const std::string& extension) {
    const std::string path = folder_.path() + "/" + name + ".pem";
    Command command;
    command.argv = {"openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-nodes",
                    "-keyout",
                    folder_.path() + "/key.pem",
                    "-out",
                    path,
                    "-days",
                    "2",
                    "-subj",
                    "/CN=" + name,
                    "-addext",
                    extension};
    const auto done = runCommand(command);
    EXPECT_TRUE(done.ok() && done->exitCode == 0) << (done.ok() ? done->output : done.error().message);
    return path;
  }
  std::string bundle() { return readFile(bundle_).value(); }

  const TemporaryDirectory folder_;
  const std::string bundle_ = folder_.path() + "/cacert.pem";
  const std::string before_ = "# Others\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
};

TEST_F(Trust, AnAuthorityIsAddedOnceAndTakenOutAgain) {
  ASSERT_TRUE(writeFileAtomic(bundle_, before_, 0644, Durable::no).ok());
  const auto authority = readAuthority(certificate("Our CA", "basicConstraints=critical,CA:TRUE"));
  ASSERT_TRUE(authority.ok()) << authority.error().message;
  EXPECT_EQ(authority->subject, "CN=Our CA");
  EXPECT_EQ(authority->sha256.size(), 64u);
  EXPECT_TRUE(trustIn(bundle_, *authority).value());
  EXPECT_FALSE(trustIn(bundle_, *authority).value());
  EXPECT_THAT(bundle(), testing::StartsWith(before_ + "\n"));
  EXPECT_THAT(bundle(), HasSubstr(authority->pem));
  struct stat info {};
  ASSERT_EQ(::stat(bundle_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644u);
  EXPECT_TRUE(distrustIn(bundle_, *authority).value());
  EXPECT_EQ(bundle(), before_ + "\n");
  EXPECT_FALSE(distrustIn(bundle_, *authority).value());
}

TEST_F(Trust, WhatIsNoAuthorityIsRefused) {
  const auto server = readAuthority(certificate("server", "basicConstraints=critical,CA:FALSE"));
  ASSERT_FALSE(server.ok());
  EXPECT_THAT(server.error().message, HasSubstr("not of an authority"));
  ASSERT_TRUE(writeFileAtomic(bundle_, "no pem", 0644, Durable::no).ok());
  EXPECT_THAT(readAuthority(bundle_).error().message, HasSubstr("no certificate in PEM"));
  EXPECT_FALSE(readAuthority(folder_.path() + "/none").ok());
}

}  // namespace
}  // namespace gridiron
