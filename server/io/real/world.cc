#include "server/io/real/world.h"

#include <errno.h>
#include <sys/random.h>

#include "base/check.h"

namespace fairlead::io {

uint64_t RealRandom::next() {
  if (left_ == 0) {
    ssize_t n;
    do {
      n = getrandom(block_, sizeof block_, 0);
    } while (n < 0 && errno == EINTR);
    CHECK(n == static_cast<ssize_t>(sizeof block_), "the kernel gives no random bytes");
    left_ = static_cast<int>(sizeof block_ / sizeof block_[0]);
  }
  return block_[--left_];
}

Result<std::unique_ptr<RealWorld>> RealWorld::create(Options options) {
  std::unique_ptr<RealWorld> world(new RealWorld());
  world->logger_ = std::make_unique<RealLogger>(options.logger);
  world->loop_ = std::make_unique<RealLoop>();
  ASSIGN_OR_RETURN(world->disk_, RealDisk::create(world->loop_.get(), options.log_io));
  world->workers_ = std::make_unique<RealWorkers>(world->loop_.get(), options.worker_threads);
  world->net_ =
      std::make_unique<RealNet>(world->loop_.get(), world->workers_.get(), world->logger_.get(), options.reuse_port);
  return world;
}

RealWorld::~RealWorld() {
  // Threads that post to the loop end before it does.
  net_.reset();
  workers_.reset();
  disk_.reset();
  loop_.reset();
}

World RealWorld::world() { return {loop_.get(), net_.get(), disk_.get(), &random_, workers_.get(), logger_.get()}; }

}  // namespace fairlead::io
