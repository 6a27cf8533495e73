#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "base/testing.h"
#include "blob/blob.h"
#include "edge/dash/admin.h"

namespace gridiron::edge {

// The admin API over a data folder without a running grid.
class AdminTest : public testing::Test {
 protected:
  AdminTest() {
    auto opened = blob::Blobs::open(folder.path());
    EXPECT_TRUE(opened.ok());
    blobs = std::make_unique<blob::Blobs>(std::move(*opened));
    auto whole = Catalog::open(*store, *blobs, clock, {.keyFile = "", .workspace = "acme"});
    EXPECT_TRUE(whole.ok());
    catalog = std::move(*whole);
    AdminParts parts{.store = *store,
                     .catalog = *catalog,
                     .meter = meter,
                     .clock = clock,
                     .fleet = nullptr,
                     .calls = nullptr,
                     .schedules = nullptr,
                     .url = "http://localhost:8400",
                     .domain = "localhost",
                     .version = "1"};
    api = std::make_unique<AdminApi>(parts);
  }

  TemporaryDirectory folder;
  FakeClock clock;
  std::unique_ptr<Store> store = openMemoryStore();
  Meter meter{*store, clock};
  std::unique_ptr<blob::Blobs> blobs;
  std::unique_ptr<Catalog> catalog;
  std::unique_ptr<AdminApi> api;
};

}  // namespace gridiron::edge
