#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "store/sqlite_db.h"

namespace gridiron {

// Copies SQLite's log into the database on a thread and a connection of its own, while others write on: a checkpoint
// waits for the disk several times. It is started when the log has `enough` pages. Since the log can only begin anew
// when all of it was copied, which writers that never pause would not let happen, they are held up, for what little is
// left to copy then, when the log has `tooMany` pages.
//
// What could not be copied (the disk is full) stays in the log and is tried again with the next commit. A sync that
// fails ends the process, as in Syncer.
class Checkpointer {
 public:
  struct Limits {  // pages of 4 KiB
    int enough = 4000;
    int tooMany = 1 << 15;
    int few = 500;  // that the writers may be held up for
  };
  Checkpointer(std::unique_ptr<Database> db, Limits limits);
  ~Checkpointer();  // after the one that runs
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;

  // Held by the writer from before a transaction begins until it is committed.
  std::mutex& writing() { return writing_; }
  // The log has so many pages after a commit. Any one thread.
  void wrote(int pages);
  // Blocks until what was asked for is done.
  void wait();

 private:
  void run();
  void checkpoint(int pages);

  const std::unique_ptr<Database> db_;
  const Limits limits_;
  std::mutex writing_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  int pages_ = 0;  // to look at; 0: nothing to do
  bool busy_ = false;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace gridiron
