#include "server/io/real/disk_writers.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "server/io/real/disk.h"

namespace fairlead::io {
namespace {

struct LogWrite {
  int fd;
  std::string path;
  uint64_t offset;
  std::shared_ptr<AlignedBuffer> data;
  size_t size;
  std::function<void(Status)> done;
  size_t written = 0;
  bool complete = false;
  Status status;
};

Status write_error(const LogWrite& write, int error_number) {
  return io_error("write of " + write.path + " at " + std::to_string(write.offset + write.written), error_number);
}

// --- a log thread ----------------------------------------------------------------------------------------------------

class ThreadWriter final : public LogWriter {
 public:
  explicit ThreadWriter(RealLoop* loop) : loop_(loop), rwf_dsync_(probe_rwf_dsync()) {
    thread_ = std::thread([this] { work_loop(); });
  }
  ~ThreadWriter() override {
    *alive_ = false;
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  void write(int fd, const std::string& path, uint64_t offset, std::shared_ptr<AlignedBuffer> data, size_t size,
             std::function<void(Status)> done) override {
    {
      std::lock_guard lock(mutex_);
      CHECK(waiting_.size() < kDurableWritesWaitingMax, "too many log writes wait");
      waiting_.push_back({fd, path, offset, std::move(data), size, std::move(done), 0, false, {}});
    }
    wake_.notify_one();
  }
  std::string_view mode() const override { return rwf_dsync_ ? "pwrite" : "pwrite-buffered"; }

 private:
  static bool probe_rwf_dsync() {
    int fd = memfd_create("fairlead-probe", MFD_CLOEXEC);
    if (fd < 0) return false;
    char byte = 0;
    iovec vector{&byte, 1};
    bool known = pwritev2(fd, &vector, 1, 0, RWF_DSYNC) == 1;
    close(fd);
    return known;
  }

  Status write_now(LogWrite& write) const {
    while (write.written < write.size) {
      iovec vector{write.data->data() + write.written, write.size - write.written};
      auto offset = static_cast<off_t>(write.offset + write.written);
      ssize_t n = pwritev2(write.fd, &vector, 1, offset, rwf_dsync_ ? RWF_DSYNC : 0);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return write_error(write, errno);
      if (n == 0) return write_error(write, EIO);
      write.written += static_cast<size_t>(n);
    }
    if (!rwf_dsync_ && fdatasync(write.fd) != 0) return io_error("sync of " + write.path, errno);
    return Status::ok();
  }

  void work_loop() {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
      if (stop_) return;
      LogWrite write = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      Status status = write_now(write);
      write.data.reset();
      loop_->post([done = std::move(write.done), status = std::move(status), alive = alive_] {
        if (*alive) done(status);
      });
      lock.lock();
    }
  }

  RealLoop* loop_;
  const bool rwf_dsync_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // read and written on the loop only
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<LogWrite> waiting_;  // guarded by mutex_
  bool stop_ = false;             // guarded by mutex_
  std::thread thread_;
};

// --- io_uring --------------------------------------------------------------------------------------------------------

class UringWriter final : public LogWriter, private RealLoop::Pollable {
 public:
  static Result<std::unique_ptr<LogWriter>> create(RealLoop* loop) {
    std::unique_ptr<UringWriter> writer(new UringWriter(loop));
    int error = io_uring_queue_init(kUringDepth, &writer->ring_, 0);
    if (error != 0) return io_error("io_uring", -error);
    writer->ring_made_ = true;
    RETURN_IF_ERROR(writer->probe());
    writer->event_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (writer->event_fd_ < 0) return io_error("eventfd", errno);
    error = io_uring_register_eventfd(&writer->ring_, writer->event_fd_);
    if (error != 0) return io_error("io_uring eventfd", -error);
    writer->handle_ = loop->poll_add(writer->event_fd_, EPOLLIN, writer.get());
    writer->polled_ = true;
    return std::unique_ptr<LogWriter>(std::move(writer));
  }

  ~UringWriter() override {
    *alive_ = false;
    // The kernel writes from these buffers: they stay until it has let go of them.
    while (at_kernel_ > 0) {
      io_uring_cqe* cqe = nullptr;
      if (io_uring_wait_cqe(&ring_, &cqe) != 0) continue;
      io_uring_cqe_seen(&ring_, cqe);
      --at_kernel_;
    }
    if (polled_) loop_->poll_remove(handle_);
    if (event_fd_ >= 0) close(event_fd_);
    if (ring_made_) io_uring_queue_exit(&ring_);
  }

  void write(int fd, const std::string& path, uint64_t offset, std::shared_ptr<AlignedBuffer> data, size_t size,
             std::function<void(Status)> done) override {
    CHECK(writes_.size() < kDurableWritesWaitingMax, "too many log writes wait");
    writes_.push_back(
        std::make_unique<LogWrite>(LogWrite{fd, path, offset, std::move(data), size, std::move(done), 0, false, {}}));
    submit_waiting();
  }
  std::string_view mode() const override { return "uring"; }

 private:
  explicit UringWriter(RealLoop* loop) : loop_(loop) {}

  // One write of a real file, durable on completion, as the log will do it.
  Status probe() {
    int fd = memfd_create("fairlead-probe", MFD_CLOEXEC);
    if (fd < 0) return io_error("memfd", errno);
    char byte = 1;
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    io_uring_prep_write(sqe, fd, &byte, 1, 0);
    sqe->rw_flags = RWF_DSYNC;
    int error = io_uring_submit_and_wait(&ring_, 1);
    io_uring_cqe* cqe = nullptr;
    if (error >= 0) error = io_uring_peek_cqe(&ring_, &cqe);
    if (error == 0) {
      error = cqe->res == 1 ? 0 : cqe->res < 0 ? cqe->res : -EIO;
      io_uring_cqe_seen(&ring_, cqe);
    }
    close(fd);
    return error == 0 ? Status::ok() : io_error("io_uring write", -error);
  }

  void submit(LogWrite* write) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    CHECK(sqe != nullptr, "the ring is as deep as what is at the kernel at most");
    io_uring_prep_write(sqe, write->fd, write->data->data() + write->written,
                        static_cast<unsigned>(write->size - write->written), write->offset + write->written);
    sqe->rw_flags = RWF_DSYNC;
    io_uring_sqe_set_data(sqe, write);
    ++at_kernel_;
    int n;
    do {
      n = io_uring_submit(&ring_);
    } while (n == -EINTR || n == -EAGAIN);
    CHECK(n == 1, "io_uring takes no write any more");
  }

  void submit_waiting() {
    while (at_kernel_ < kUringDepth && submitted_ < writes_.size()) submit(writes_[submitted_++].get());
  }

  void on_poll(uint32_t) override {
    uint64_t count;
    [[maybe_unused]] ssize_t n = ::read(event_fd_, &count, sizeof count);
    io_uring_cqe* cqe = nullptr;
    while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
      auto* write = static_cast<LogWrite*>(io_uring_cqe_get_data(cqe));
      int result = cqe->res;
      io_uring_cqe_seen(&ring_, cqe);
      --at_kernel_;
      take_completion(write, result);
    }
    submit_waiting();
    tell_in_order();
  }

  void take_completion(LogWrite* write, int result) {
    if (result == -EINTR || result == -EAGAIN)
      result = 0;
    else if (result == 0)
      result = -EIO;
    if (result >= 0) {
      write->written += static_cast<size_t>(result);
      if (write->written < write->size) {  // a short write has not failed: the rest follows
        submit(write);
        return;
      }
    } else {
      write->status = write_error(*write, -result);
    }
    write->complete = true;
  }

  void tell_in_order() {
    std::vector<std::unique_ptr<LogWrite>> ready;
    while (!writes_.empty() && writes_.front()->complete) {
      ready.push_back(std::move(writes_.front()));
      writes_.pop_front();
      --submitted_;
    }
    // Nothing of this writer is touched from here on except by what is asked anew: a `done` may destroy it.
    std::shared_ptr<bool> alive = alive_;
    for (auto& write : ready) {
      if (*alive) write->done(write->status);
    }
  }

  RealLoop* loop_;
  io_uring ring_{};
  bool ring_made_ = false;
  int event_fd_ = -1;
  uint64_t handle_ = 0;
  bool polled_ = false;
  std::deque<std::unique_ptr<LogWrite>> writes_;  // in order of submission; the first submitted_ are with the kernel
  size_t submitted_ = 0;
  unsigned at_kernel_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace

Result<std::unique_ptr<LogWriter>> make_uring_writer(RealLoop* loop) { return UringWriter::create(loop); }
std::unique_ptr<LogWriter> make_thread_writer(RealLoop* loop) { return std::make_unique<ThreadWriter>(loop); }

}  // namespace fairlead::io
