#include "wire/logs.h"

#include <gtest/gtest.h>

namespace gridiron::wire {
namespace {

TEST(WireLogs, NeighboursOfOneContainerShareABatchWithACursorBehindIt) {
  LogEntry a, b, c;
  a.sequence = 7;
  a.instance = InstanceId{"ta-1"};
  a.text = "one\n";
  a.at = fromMillis(1500);
  b = a;
  b.sequence = 6;  // written later with an earlier time
  b.source = LogSource::stderrLine;
  c = a;
  c.sequence = 9;
  c.instance = InstanceId{"ta-2"};
  std::vector<LogEntry> entries = {a, b, c};
  auto batches = writeLogBatches(entries);
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].items_size(), 2);
  EXPECT_EQ(batches[0].entry_id(), "7-0");
  EXPECT_EQ(batches[0].items(0).timestamp_ns(), 1'500'000'000u);
  EXPECT_EQ(batches[0].items(1).file_descriptor(), ::modal::client::FILE_DESCRIPTOR_STDERR);
  EXPECT_EQ(batches[1].task_id(), "ta-2");
  EXPECT_EQ(batches[1].entry_id(), "9-0");
}

}  // namespace
}  // namespace gridiron::wire
