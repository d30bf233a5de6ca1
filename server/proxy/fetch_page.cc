#include "server/proxy/fetch_page.h"

#include <memory>
#include <utility>

namespace fairlead::proxy {
namespace {

struct Fetch final : io::StreamHandler, std::enable_shared_from_this<Fetch> {
  void on_connected() override { write(); }
  void on_writable() override { write(); }
  void write() {
    std::string_view rest = request;
    if (rest.empty()) return;
    io::IoResult put = stream->writev({&rest, 1});
    if (!put.error.is_ok()) return end(put.error);
    request.erase(0, put.bytes);
  }
  void on_readable() override {
    char buffer[16 * 1024];
    io::IoResult got = stream->read(buffer);
    answer.append(buffer, got.bytes);
    if (answer.size() > kFetchBytesMax) return end(Status(Code::kResourceExhausted, "the page is too large"));
    if (!got.error.is_ok()) return end(got.error);
    if (got.eof) end({});
  }
  void end(const Status& status) {
    if (over) return;
    over = true;
    stream->set_handler(nullptr);
    auto self = shared_from_this();  // the timer may have held the last one
    world.loop->cancel_timer(timer);
    world.loop->post([self, status] {  // out of the stream's own work
      self->stream.reset();
      self->done(status.is_ok() ? body_of_answer(std::move(self->answer)) : status);
    });
  }

  io::World world;
  std::unique_ptr<io::Stream> stream;
  std::string request, answer;
  std::function<void(Result<std::string>)> done;
  io::TimerId timer = 0;
  bool over = false;
};

}  // namespace

Result<std::string> body_of_answer(std::string answer) {
  size_t line = answer.find("\r\n"), body = answer.find("\r\n\r\n"), status = answer.find(' ');
  if (!answer.starts_with("HTTP/1.") || body == std::string::npos || status > line)
    return unavailable("the answer is not HTTP");
  if (answer.compare(status, 4, " 200") != 0) return unavailable("HTTP status" + answer.substr(status, line - status));
  return answer.substr(body + 4);
}

void fetch_page(const io::World& world, const std::string& address, const std::string& host, const std::string& path,
                std::function<void(Result<std::string>)> done) {
  auto fetch = std::make_shared<Fetch>();
  fetch->world = world;
  fetch->done = std::move(done);
  fetch->request = "GET " + path + " HTTP/1.0\r\nHost: " + host + "\r\nConnection: close\r\n\r\n";
  fetch->stream = world.net->connect(address);
  fetch->stream->set_handler(fetch.get());
  // The timer holds the fetch until it has ended.
  fetch->timer = world.loop->add_timer(world.loop->now() + kFetchTimeout,
                                       [fetch] { fetch->end(unavailable("no answer in time")); });
  fetch->write();
}

}  // namespace fairlead::proxy
