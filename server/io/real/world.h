// Everything a node is given, made from the real operating system. Built once by main, before other threads exist.
#pragma once

#include <memory>

#include "server/io/io.h"
#include "server/io/real/disk.h"
#include "server/io/real/logger.h"
#include "server/io/real/loop.h"
#include "server/io/real/net.h"
#include "server/io/real/workers.h"

namespace fairlead::io {

class RealRandom final : public Random {
 public:
  uint64_t next() override;  // getrandom, drawn in blocks

 private:
  uint64_t block_[32];
  int left_ = 0;
};

class RealWorld {
 public:
  struct Options {
    LogIo log_io = LogIo::kAuto;
    int worker_threads = kWorkerThreadsDefault;
    bool reuse_port = false;  // of all listeners
    RealLogger::Options logger;
  };
  static Result<std::unique_ptr<RealWorld>> create(Options options);
  // Nothing made from this world may be left when it goes; worker and log threads are joined.
  ~RealWorld();

  World world();
  RealLoop& loop() { return *loop_; }
  RealLogger& logger() { return *logger_; }
  RealNet& net() { return *net_; }

 private:
  RealWorld() = default;
  std::unique_ptr<RealLogger> logger_;
  std::unique_ptr<RealLoop> loop_;
  std::unique_ptr<RealWorkers> workers_;
  std::unique_ptr<RealDisk> disk_;
  std::unique_ptr<RealNet> net_;
  RealRandom random_;
};

}  // namespace fairlead::io
